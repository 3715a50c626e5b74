// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
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

describe('unwind tables of real files', () => {
  const readelf = spawnSync('readelf', ['--version']).status === 0;
  it('agree with readelf in every row', { skip: readelf || process.env.CI ? false : 'no readelf' }, async (t) => {
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
});
