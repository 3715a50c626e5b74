// SPDX-License-Identifier: Apache-2.0
import { visibleLength } from './terminal.ts';

/** Rows as lines with aligned columns, two blanks apart; columns named in `right` are aligned to the right. */
export function alignedTable(
  rows: readonly (readonly string[])[],
  right: readonly number[] = [],
  indent = '  ',
): string {
  const widths: number[] = [];
  for (const row of rows) {
    row.forEach((cell, column) => {
      widths[column] = Math.max(widths[column] ?? 0, visibleLength(cell));
    });
  }
  return rows
    .map((row) => {
      const cells = row.map((cell, column) => {
        const space = ' '.repeat(widths[column] - visibleLength(cell));
        return right.includes(column) ? space + cell : cell + space;
      });
      return `${indent}${cells.join('  ')}`.trimEnd();
    })
    .join('\n');
}
