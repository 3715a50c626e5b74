// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, readSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { parseElf } from '../elf/file.ts';
import { bytesSource } from '../elf/source.ts';
import { buildUnwindTable } from './build.ts';
import { compareWithReadelf } from './frames-interp.fixture.ts';

/** The libraries of this process, and programs that are found on most machines. */
function sample(): string[] {
  const mapped = readFileSync('/proc/self/maps', 'latin1').match(/\/\S+\.so\S*$/gm) ?? [];
  const programs = [
    '/bin/bash',
    '/usr/bin/perl',
    '/usr/bin/git',
    '/usr/lib/x86_64-linux-gnu/libcrypto.so.3',
    '/usr/sbin/nginx',
  ];
  return [...new Set([...mapped, ...programs])].filter((path) => existsSync(path));
}

/** The image that the kernel maps into every process. */
function vdso(): Uint8Array {
  const [, start, end] = /^([0-9a-f]+)-([0-9a-f]+) .*\[vdso\]$/m.exec(readFileSync('/proc/self/maps', 'latin1')) ?? [];
  const bytes = new Uint8Array(Number.parseInt(end, 16) - Number.parseInt(start, 16));
  const memory = openSync('/proc/self/mem', 'r');
  readSync(memory, bytes, 0, bytes.length, Number.parseInt(start, 16));
  closeSync(memory);
  return bytes;
}

describe('unwind tables of real files', () => {
  const readelf = spawnSync('readelf', ['--version']).status === 0;
  const skip = readelf || process.env.CI ? false : 'no readelf';
  it('agree with readelf in every row', { skip }, async (t) => {
    let rows = 0;
    for (const path of sample()) {
      const source = bytesSource(readFileSync(path));
      const file = parseElf(source);
      const comparison = await compareWithReadelf(path, buildUnwindTable(file, source), file.entry);
      t.diagnostic(`${path}: ${comparison.functions} functions, ${comparison.rows} rows`);
      assert.deepEqual(comparison.differences, [], path);
      rows += comparison.rows;
    }
    assert.ok(rows > 10_000, `${rows} rows`);
  });

  it('agree for the vDSO', { skip }, async (t) => {
    const directory = mkdtempSync(join(tmpdir(), 'vdso-'));
    t.after(() => rmSync(directory, { recursive: true }));
    const bytes = vdso();
    const path = join(directory, 'vdso.so');
    writeFileSync(path, bytes);
    const source = bytesSource(bytes);
    const comparison = await compareWithReadelf(path, buildUnwindTable(parseElf(source), source), 0);
    assert.deepEqual(comparison.differences, []);
    assert.ok(comparison.rows >= 5, `${comparison.rows} rows`);
  });
});
