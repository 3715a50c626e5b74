// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { SampleHead, Stack } from './decode.ts';
import { Joiner, joinParts } from './joiner.ts';

const head = (tid: number, walk: number, key: number): SampleHead => ({
  ...{ key, tid, comm: 'x', time: walk, cpu: 0, reason: 26, spilled: false, part: 'kernel', walk },
});

const stack = (key: number, kernel: readonly bigint[], user: readonly number[]): Stack =>
  ({
    ...{ key, kernel: BigUint64Array.from(kernel), user: Float64Array.from(user), inKernel: kernel.length > 0 },
    ...{ kernelClipped: false, reason: user.length > 0 ? 0 : 26 },
  }) as Stack;

describe('Joiner', () => {
  it('gives all samples of a walk, counted by kernel stack, once', () => {
    const joiner = new Joiner();
    const [a, b] = [stack(1, [10n], []), stack(2, [20n], [])];
    joiner.addKernelPart(head(7, 100, 1), a);
    joiner.addKernelPart(head(7, 100, 2), b);
    joiner.addKernelPart(head(7, 100, 1), a);
    joiner.addKernelPart(head(8, 100, 1), a);
    assert.deepEqual(
      joiner.take({ tid: 7, walk: 100 }).map(({ stack: of, count }) => [of?.key, count]),
      [
        [1, 2],
        [2, 1],
      ],
    );
    assert.deepEqual(joiner.take({ tid: 7, walk: 100 }), []);
    assert.equal(joiner.size, 1);
  });

  it('joins no part of another walk of the same thread', () => {
    const joiner = new Joiner();
    joiner.addKernelPart(head(7, 100, 1), stack(1, [], []));
    assert.deepEqual(joiner.take({ tid: 7, walk: 99 }), []);
    joiner.addKernelPart(head(7, 200, 3), stack(3, [], [])); // the walk of the first was lost with a full ring
    assert.deepEqual(
      joiner.take({ tid: 7, walk: 200 }).map(({ head: of }) => of.key),
      [3],
    );
    assert.equal(joiner.size, 0);
  });

  it('gives what is left, by walk, when no more walks come', () => {
    const joiner = new Joiner();
    joiner.addKernelPart(head(7, 100, 1), stack(1, [], []));
    joiner.addKernelPart(head(8, 100, 2), undefined);
    assert.deepEqual(
      joiner.takeAll().map((parts) => parts.map(({ head: of }) => of.tid)),
      [[7], [8]],
    );
    assert.equal(joiner.size, 0);
  });

  it('bounds what waits for walks that may never come', () => {
    const joiner = new Joiner();
    for (let tid = 1; tid <= 40_000; tid++) joiner.addKernelPart(head(tid, 1, 1), undefined);
    assert.equal(joiner.size, 1 << 15);
    assert.equal(joiner.take({ tid: 40_000, walk: 1 }).length, 1);
    assert.equal(joiner.take({ tid: 1, walk: 1 }).length, 0);
  });
});

describe('joinParts', () => {
  it('has the kernel frames of the one, all else of the other, and a key of both', () => {
    const kernel = stack(2 ** 52 + 5, [1n, 2n], []);
    const user = stack(2 ** 40 + 9, [], [3, 4]);
    const joined = joinParts(kernel, user);
    assert.deepEqual(
      [[...joined.kernel], [...joined.user], joined.inKernel, joined.reason],
      [[1n, 2n], [3, 4], true, 0],
    );
    assert.ok(Number.isSafeInteger(joined.key) && joined.key >= 0);
    const keys = new Set([joined.key, joinParts(user, kernel).key, joinParts(kernel, stack(1, [], [3])).key]);
    assert.equal(keys.size, 3);
  });
});
