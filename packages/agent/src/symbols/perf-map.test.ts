// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { appendFileSync, mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { PerfMap } from './perf-map.ts';
import { PerfMapReader } from './perf-map-reader.ts';

test('names by address, and of one address used again the latest', () => {
  const map = new PerfMap();
  map.append('1000 100 LazyCompile:~a file.js:1\n2000 10 b\n0x3000 0x20 with prefix\n');
  assert.equal(map.nameAt(0x10ff), 'LazyCompile:~a file.js:1');
  assert.equal(map.nameAt(0x1100), undefined);
  assert.equal(map.nameAt(0x301f), 'with prefix');
  map.append('1080 10 later\n');
  assert.equal(map.nameAt(0x1085), 'later');
  assert.equal(map.nameAt(0x1090), 'LazyCompile:~a file.js:1');
  assert.equal(map.nameAt(0xfff), undefined);
});

test('lines come in any pieces', () => {
  fc.assert(
    fc.property(fc.array(fc.nat({ max: 60 }), { maxLength: 10 }), (cuts) => {
      const text = '10 4 one\n20 4 two\nbad line\n30 4 three\n';
      const map = new PerfMap();
      let at = 0;
      for (const cut of cuts.sort((a, b) => a - b)) {
        map.append(text.slice(at, cut));
        at = Math.max(at, Math.min(cut, text.length));
      }
      map.append(text.slice(at));
      assert.deepEqual(
        [map.nameAt(0x10), map.nameAt(0x23), map.nameAt(0x30), map.count, map.malformed],
        ['one', 'two', 'three', 3, 1],
      );
    }),
  );
});

test('it agrees with a search through all entries', () => {
  const entry = fc.tuple(fc.nat({ max: 50 }), fc.integer({ min: 1, max: 30 }));
  fc.assert(
    fc.property(fc.array(entry, { maxLength: 30 }), (entries) => {
      const map = new PerfMap();
      map.append(entries.map(([start, size], i) => `${start.toString(16)} ${size.toString(16)} ${i}\n`).join(''));
      for (let address = 0; address < 90; address++) {
        const latest = entries.findLastIndex(([start, size]) => start <= address && address < start + size);
        assert.equal(map.nameAt(address), latest < 0 ? undefined : String(latest));
      }
    }),
  );
});

test('hostile text is bounded', () => {
  const map = new PerfMap();
  map.append('ffffffffffffffff 1 beyond\n10 0 empty\n10 ffffffffffffffff endless\n');
  map.append('x'.repeat(200_000));
  map.append('1 1 a\n2 1 b\n3 1 c\n', 2);
  assert.equal(map.malformed, 5);
  assert.equal(map.count, 2);
});

const nameAt = (reader: PerfMapReader, address: number) => reader.map?.nameAt(address);

/** A /proc with one process of this user. */
function fakeProc() {
  const folder = mkdtempSync(join(tmpdir(), 'plumbline-perf-map-'));
  mkdirSync(join(folder, '7/root/tmp'), { recursive: true });
  writeFileSync(join(folder, '7/status'), `Name:\tx\nUid:\t${process.getuid?.()}\t0\t0\t0\nNSpid:\t7\t3\n`);
  return { folder, file: join(folder, '7/root/tmp/perf-3.map') };
}

test('a map is found under the id in its own namespace, followed, and read anew when it is replaced', () => {
  const { folder, file } = fakeProc();
  try {
    const reader = PerfMapReader.forProcess(7, folder)!;
    reader.refresh();
    assert.equal(reader.map, undefined);
    writeFileSync(file, '10 8 one\n');
    reader.refresh();
    appendFileSync(file, '20 8 two\n');
    reader.refresh();
    assert.deepEqual([nameAt(reader, 0x10), nameAt(reader, 0x20)], ['one', 'two']);
    writeFileSync(`${file}.new`, '30 8 three\n');
    renameSync(`${file}.new`, file);
    reader.refresh();
    assert.deepEqual([nameAt(reader, 0x10), nameAt(reader, 0x30)], [undefined, 'three']);
    rmSync(join(folder, '7'), { recursive: true });
    reader.refresh();
    assert.equal(nameAt(reader, 0x30), 'three', 'what is known stays when the process is gone');
    assert.equal(PerfMapReader.forProcess(7, folder), undefined);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('links and other things than files are not read', () => {
  const { folder, file } = fakeProc();
  try {
    const secret = join(folder, 'secret');
    writeFileSync(secret, '10 8 secret\n');
    symlinkSync(secret, file);
    const reader = PerfMapReader.forProcess(7, folder)!;
    reader.refresh();
    assert.equal(reader.map, undefined);
    rmSync(file);
    mkdirSync(file);
    reader.refresh();
    assert.equal(reader.map, undefined);
    rmSync(join(folder, '7/root/tmp'), { recursive: true });
    mkdirSync(join(folder, 'elsewhere'));
    writeFileSync(join(folder, 'elsewhere/perf-3.map'), '10 8 secret\n');
    symlinkSync(join(folder, 'elsewhere'), join(folder, '7/root/tmp'));
    reader.refresh();
    assert.equal(reader.map, undefined);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
