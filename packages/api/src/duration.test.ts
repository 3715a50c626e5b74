// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Duration, formatDuration, parseDuration } from './duration.ts';

test('a formatted duration reads back', () => {
  fc.assert(
    fc.property(fc.nat({ max: 1e10 }), (ms) => {
      const text = formatDuration(ms);
      assert.equal(parseDuration(text), ms);
      assert.ok(Duration.safeParse(text).success, text);
    }),
  );
  assert.equal(formatDuration(5_400_000), '1h30m');
  assert.equal(parseDuration('500ms'), 500);
});

test('anything else is refused', () => {
  for (const text of ['', '10', 's', '1.5s', '-1s', '1d', ' 1s', '1s ']) {
    assert.throws(() => parseDuration(text), RangeError);
    assert.ok(!Duration.safeParse(text).success, text);
  }
});
