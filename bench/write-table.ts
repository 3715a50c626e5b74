// SPDX-License-Identifier: Apache-2.0
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { asMarkdown, type Table } from './table.ts';

/** Puts a table, and its picture, into docs/performance.md, in the place of the one with its title. */
export function writeTable(table: Table, machine: string): void {
  const path = join(import.meta.dirname, '../docs/performance.md');
  const text = existsSync(path) ? readFileSync(path, 'utf8') : '# Performance\n';
  const section = `${asMarkdown(table)}*${machine}.*\n`;
  const start = text.indexOf(`## ${table.title}\n`);
  const next = start < 0 ? -1 : text.indexOf('\n## ', start + 1);
  const before = start < 0 ? `${text.trimEnd()}\n\n` : text.slice(0, start);
  const after = next < 0 ? '' : text.slice(next);
  writeFileSync(path, `${before}${section}${after}`);
  if (table.picture) writeFileSync(join(dirname(path), table.picture.file), table.picture.svg);
}
