// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Duration, parseDuration } from './duration.ts';

test('the parts of a duration add up', () => {
  const part = fc.record({ count: fc.nat({ max: 999 }), unit: fc.constantFrom('ms', 's', 'm', 'h') });
  fc.assert(
    fc.property(fc.array(part, { minLength: 1, maxLength: 4 }), (parts) => {
      const texts = parts.map(({ count, unit }) => `${count}${unit}`);
      const sum = texts.reduce((total, text) => total + parseDuration(text), 0);
      assert.equal(parseDuration(texts.join('')), sum);
      assert.ok(Duration.safeParse(texts.join('')).success, texts.join(''));
    }),
  );
  assert.deepEqual(['500ms', '30s', '10m', '1h30m'].map(parseDuration), [500, 30_000, 600_000, 5_400_000]);
});

test('anything else is refused', () => {
  for (const text of ['', '10', 's', '1.5s', '-1s', '1d', ' 1s', '1s ']) {
    assert.throws(() => parseDuration(text), RangeError);
    assert.ok(!Duration.safeParse(text).success, text);
  }
});
