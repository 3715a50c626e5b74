// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { closeSync, fstatSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { pathToFileURL } from 'node:url';
import { BackgroundWork } from './background-work.ts';
import { readMaps } from './processes/proc-fs.ts';

const STACK = 0x7ffe_0000_0000n;
const walk = (stack: Uint8Array<ArrayBuffer>) => ({
  ...{ pc: 0x1000, exact: true, code: new Uint8Array(0), stackStart: STACK, stack, maxFrames: 10 },
  registers: Array.from({ length: 16 }, (_, i) => (i === 7 ? STACK : 0n)),
  ...{ mappings: new Float64Array(0), files: [], rules: [] },
});

describe('BackgroundWork', () => {
  let background: BackgroundWork;
  beforeEach(() => {
    background = new BackgroundWork();
  });
  afterEach(() => background.close());

  it('builds the table of a program, and reads its symbols', async () => {
    const fd = openSync(process.execPath, 'r');
    try {
      const [table, symbols] = await Promise.all([
        background.buildTable({ fd, size: fstatSync(fd).size }),
        background.readSymbols({ fd }),
      ]);
      assert.equal(table.error, undefined);
      assert.ok(table.segments.length > 0);
      assert.ok(symbols.index.starts.length > 10_000);
    } finally {
      closeSync(fd);
    }
  });

  it('says what is wrong with a file', async () => {
    const bytes = Uint8Array.of(1, 2, 3);
    const table = await background.buildTable({ fd: -1, bytes, size: 3 });
    assert.deepEqual([table.notElf, table.segments], [true, []]);
    await assert.rejects(background.readSymbols({ fd: -1, bytes }), /ELF/);
  });

  it('walks a stack, and gives it back', async () => {
    const [first, second] = await Promise.all([
      background.walkSpill(walk(Uint8Array.of(1, 2))),
      background.walkSpill({ ...walk(new Uint8Array(8)), mappings: Float64Array.of(0x1000, 0x2000, 0, -1) }),
    ]);
    assert.deepEqual([first?.end, [...(first?.stack ?? [])]], ['no_mapping', [1, 2]]);
    assert.deepEqual([second?.end, [...(second?.addresses ?? [])]], ['no_unwind_info', [0x1000]]);
  });

  it('walks with the files that it is told of', async () => {
    const libc = readMaps(process.pid)?.find(({ path }) => path.includes('libc'));
    assert.ok(libc);
    const fd = openSync(libc.path, 'r');
    try {
      // A leaf somewhere in the library: whatever its rule is, the stack is too short for it.
      const reply = await background.walkSpill({
        ...walk(new Uint8Array(0)),
        pc: libc.start + 0x20_000,
        mappings: Float64Array.of(libc.start, libc.end, libc.offset, 1),
        files: [{ id: 1, fd }],
      });
      assert.equal(reply?.error, undefined);
      assert.equal(reply?.addresses.length === 1 || reply?.needed?.file === 1, true);
    } finally {
      closeSync(fd);
    }
  });

  it('answers for a thread that dies', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'plumbline-background-work-'));
    const program = join(directory, 'dying.mjs');
    writeFileSync(program, "throw new Error('out of luck');");
    const dying = new BackgroundWork({ program: pathToFileURL(program) });
    try {
      const tables = await Promise.all([1, 2, 3].map((size) => dying.buildTable({ fd: -1, size })));
      for (const { error, segments } of tables) {
        assert.match(error ?? '', /out of luck/);
        assert.deepEqual(segments, []);
      }
      assert.equal(await dying.walkSpill(walk(new Uint8Array(8))), undefined);
      await assert.rejects(dying.readSymbols({ fd: -1 }), /out of luck/);
    } finally {
      await dying.close();
      rmSync(directory, { recursive: true });
    }
  });
});
