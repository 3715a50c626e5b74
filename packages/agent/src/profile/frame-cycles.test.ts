// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { foldCycles, parseRepeatName, repeatName, unfoldCycles } from './frame-cycles.ts';

test('direct and mutual recursion is written once, with its count', () => {
  assert.deepEqual(foldCycles([1, 2, 2, 2, 2, 3]), [1, 2, { length: 1, times: 4 }, 3]);
  assert.deepEqual(foldCycles([1, 2, 3, 2, 3, 2, 3, 2]), [1, 2, 3, { length: 2, times: 3 }, 2]);
  const deep = [9, ...Array.from({ length: 4000 }, (_, i) => i % 3), 8];
  assert.equal(foldCycles(deep).length, 7);
});

test('what saves nothing stays as it is', () => {
  assert.deepEqual(foldCycles([1, 2, 2, 3]), [1, 2, 2, 3]);
  assert.deepEqual(foldCycles([]), []);
  assert.deepEqual(foldCycles([1, 2, 1, 2]), [1, 2, { length: 2, times: 2 }]);
});

test('unfold(fold(x)) = x, and folding makes nothing longer', () => {
  const cyclic = fc
    .array(fc.tuple(fc.array(fc.nat(4), { minLength: 1, maxLength: 40 }), fc.integer({ min: 1, max: 60 })), {
      maxLength: 6,
    })
    .map((parts) => parts.flatMap(([cycle, times]) => Array.from({ length: times }, () => cycle).flat()));
  fc.assert(
    fc.property(fc.oneof(fc.array(fc.nat(3), { maxLength: 200 }), cyclic), (frames) => {
      const folded = foldCycles(frames);
      assert.deepEqual(unfoldCycles(folded), frames);
      assert.ok(folded.length <= frames.length);
    }),
    { numRuns: 500 },
  );
});

test('names say what they stand for', () => {
  for (const repeat of [
    { length: 1, times: 2 },
    { length: 32, times: 4096 },
  ])
    assert.deepEqual(parseRepeatName(repeatName(repeat)), repeat);
  assert.equal(repeatName({ length: 1, times: 511 }), '[repeated 511 times: 1 frame]');
  assert.equal(parseRepeatName('repeated'), undefined);
  assert.equal(parseRepeatName('[repeated 0 times: 1 frame]'), undefined);
});
