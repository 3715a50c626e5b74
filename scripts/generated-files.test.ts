// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { outdatedFiles, writeFiles } from './generated-files.ts';

test('missing and differing files are out of date until they are written, and the others are left alone', (t) => {
  const root = mkdtempSync(join(tmpdir(), 'plumbline-generated-'));
  t.after(() => rmSync(root, { recursive: true }));
  const files = { same: 'a\n', 'other.md': 'b\n', 'folder/of/missing.md': 'c\n', empty: '' };
  writeFileSync(join(root, 'same'), 'a\n');
  writeFileSync(join(root, 'other.md'), 'b');
  const before = statSync(join(root, 'same'), { bigint: true }).mtimeNs;

  const outdated = outdatedFiles(root, files);
  assert.deepEqual(outdated, ['other.md', 'folder/of/missing.md', 'empty']);
  writeFiles(root, files, outdated);
  assert.deepEqual(outdatedFiles(root, files), []);
  for (const [path, text] of Object.entries(files)) assert.equal(readFileSync(join(root, path), 'utf8'), text);
  assert.equal(statSync(join(root, 'same'), { bigint: true }).mtimeNs, before);
});

test('a path that cannot be read is an error, not a file that is missing', () => {
  assert.throws(() => outdatedFiles(import.meta.dirname, { '.': 'a folder' }), { code: 'EISDIR' });
});

test('with --check, what differs is named with its generator, and fails', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'plumbline-generator-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const generator = join(folder, 'generator.ts');
  const license = readFileSync(join(import.meta.dirname, '../LICENSE'), 'utf8');
  const run = (text: string, ...args: string[]) => {
    const module = JSON.stringify(join(import.meta.dirname, 'generated-files.ts'));
    writeFileSync(generator, `import { deliver } from ${module};\ndeliver({ LICENSE: ${JSON.stringify(text)} });\n`);
    return spawnSync(process.execPath, [generator, ...args], { encoding: 'utf8' });
  };

  const good = run(license, '--check');
  assert.deepEqual([good.status, good.stdout, good.stderr], [0, '', '']);
  const bad = run(`${license}more`, '--check');
  assert.equal(bad.status, 1);
  assert.match(bad.stderr, /^LICENSE is out of date: run node .*generator\.ts\n$/);
  assert.notEqual(run(license, '--chekc').status, 0);
  assert.equal(readFileSync(join(import.meta.dirname, '../LICENSE'), 'utf8'), license);
});
