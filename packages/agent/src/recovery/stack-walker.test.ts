// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { closeSync, openSync } from 'node:fs';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { readMaps } from '../processes/proc-fs.ts';
import { StackWalker } from './stack-walker.ts';

const STACK = 0x7ffe_0000_0000n;
const request = (stack: Uint8Array<ArrayBuffer>) => ({
  ...{ pc: 0x1000, exact: true, code: new Uint8Array(0), stackStart: STACK, stack, maxFrames: 10 },
  registers: Array.from({ length: 16 }, (_, i) => (i === 7 ? STACK : 0n)),
  ...{ mappings: new Float64Array(0), files: [], rules: [] },
});

describe('StackWalker', () => {
  let walker: StackWalker;
  beforeEach(() => {
    walker = new StackWalker();
  });
  afterEach(() => walker.close());

  it('walks in its thread, and gives the stack back', async () => {
    const [first, second] = await Promise.all([
      walker.walk(request(Uint8Array.of(1, 2))),
      walker.walk({ ...request(new Uint8Array(8)), mappings: Float64Array.of(0x1000, 0x2000, 0, -1) }),
    ]);
    assert.deepEqual([first?.end, [...(first?.stack ?? [])]], ['no_mapping', [1, 2]]);
    assert.deepEqual([second?.end, [...(second?.addresses ?? [])]], ['no_unwind_info', [0x1000]]);
  });

  it('reads the files that it is told of', async () => {
    const libc = readMaps(process.pid)?.find(({ path }) => path.includes('libc'));
    assert.ok(libc);
    const fd = openSync(libc.path, 'r');
    try {
      // A leaf somewhere in the library: whatever its rule is, the stack is too short for it.
      const reply = await walker.walk({
        ...request(new Uint8Array(0)),
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

  it('answers everyone when it is closed, and starts again when it is needed', async () => {
    const waiting = walker.walk(request(new Uint8Array(8)));
    await walker.close();
    assert.equal(await waiting, undefined);
    assert.equal((await walker.walk(request(new Uint8Array(8))))?.end, 'no_mapping');
  });
});
