// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { FakeClock } from '../test/fake-clock.ts';
import { TokenBucket } from './token-bucket.ts';

test('in no window are there more than burst + qps × seconds', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 50 }),
      fc.integer({ min: 1, max: 20 }),
      fc.array(fc.integer({ min: 0, max: 500 }), { maxLength: 60 }),
      async (qps, burst, pauses) => {
        const clock = new FakeClock();
        const bucket = new TokenBucket(qps, burst, clock);
        const taken: number[] = [];
        for (const pause of pauses) {
          void bucket.take().then(() => taken.push(clock.now()));
          if (pause > 250) await clock.advance(pause); // else several at once
        }
        await clock.advance(100_000);
        assert.equal(taken.length, pauses.length);
        for (const [index, start] of taken.entries()) {
          for (const [later, end] of taken.slice(index).entries()) {
            assert.ok(later + 1 <= burst + ((end - start) / 1000) * qps + 1e-6);
          }
        }
      },
    ),
    { numRuns: 60 },
  );
});

test('a rate that makes no sense is refused', () => {
  assert.throws(() => new TokenBucket(0, 1, new FakeClock()), RangeError);
  assert.throws(() => new TokenBucket(Number.NaN, 1, new FakeClock()), RangeError);
  assert.throws(() => new TokenBucket(1, 0, new FakeClock()), RangeError);
});
