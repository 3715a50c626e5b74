// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Baselines } from './baselines.ts';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const counts = (samples: number, truncated = 0, depth = 10) => ({ samples, truncated, frames: samples * depth });

test('nothing is usual before an hour and 500 samples', () => {
  const baselines = new Baselines();
  baselines.add('p', 'shop/api', counts(10_000, 100), 0);
  assert.equal(baselines.of('p', 'shop/api', HOUR - 1), undefined);
  assert.equal(baselines.of('p', 'shop/api', HOUR)?.truncatedRatio.toFixed(4), '0.0100');
  baselines.add('p', 'shop/idle', counts(499), 0);
  assert.equal(baselines.of('p', 'shop/idle', DAY), undefined);
  assert.equal(baselines.of('p', 'other/api', DAY), undefined);
});

test('an hour of a bad release moves it little, a week makes it usual', () => {
  const baselines = new Baselines();
  let now = 0;
  for (; now < 14 * DAY; now += HOUR) baselines.add('p', 'w', counts(1000, 1, 40), now);
  assert.ok(baselines.of('p', 'w', now)!.truncatedRatio < 0.002);
  baselines.add('p', 'w', counts(1000, 500, 20), now);
  const afterOne = baselines.of('p', 'w', now)!;
  assert.ok(afterOne.truncatedRatio < 0.02, `${afterOne.truncatedRatio}`);
  assert.ok(afterOne.depth > 39, `${afterOne.depth}`);
  for (const end = now + 14 * DAY; now < end; now += HOUR) baselines.add('p', 'w', counts(1000, 500, 20), now);
  const later = baselines.of('p', 'w', now)!;
  assert.ok(later.truncatedRatio > 0.49 && later.depth < 20.5, JSON.stringify(later));
});

test('a workload that stands still keeps what is usual until it has faded', () => {
  const baselines = new Baselines();
  baselines.add('p', 'w', counts(4000, 40), 0);
  assert.equal(baselines.of('p', 'w', 5 * DAY)?.truncatedRatio.toFixed(4), '0.0100');
  assert.equal(baselines.of('p', 'w', 7 * DAY), undefined);
});

test('policies are summed by their samples', () => {
  const baselines = new Baselines();
  baselines.add('p', 'a', counts(3000, 0), 0);
  baselines.add('p', 'b', counts(1000, 100), 0);
  baselines.add('q', 'b', counts(1000, 1000), 0);
  const of = (...policies: string[]) => baselines.ofPolicies(new Set(policies), HOUR)?.truncatedRatio.toFixed(3);
  assert.deepEqual([of('p'), of('q'), of('p', 'q'), of('r')], ['0.025', '1.000', '0.220', undefined]);
});

test('the number of workloads is bounded: those without samples for longest go, and are counted', () => {
  const baselines = new Baselines({ capacity: 3 });
  for (const [at, name] of ['a', 'b', 'c', 'a', 'd'].entries()) baselines.add('p', name, counts(1000), at);
  assert.deepEqual(
    baselines.entries().map(({ workload }) => workload),
    ['c', 'a', 'd'],
  );
  assert.equal(baselines.forgotten, 1);
  assert.deepEqual(
    [...baselines.recent(2, HOUR * 2)].map(({ workload }) => workload),
    ['d', 'a'],
  );
});

test('what is restored goes on as if nothing had happened', () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.constantFrom('a', 'b', 'c'), fc.nat(2000), fc.nat(2000), fc.nat(10 * HOUR)), {
        maxLength: 30,
      }),
      fc.nat(30),
      (steps, cut) => {
        let first = new Baselines();
        const second = new Baselines();
        let now = 0;
        for (const [i, [workload, samples, truncated, wait]] of steps.entries()) {
          now += wait;
          if (i === cut) {
            const kept = JSON.parse(JSON.stringify(first.entries()));
            first = new Baselines();
            first.restore(kept);
          }
          const seen = counts(samples, Math.min(samples, truncated));
          first.add('p', workload, seen, now);
          second.add('p', workload, seen, now);
        }
        assert.deepEqual(first.entries(), second.entries());
        for (const { samples, truncated } of first.entries()) assert.ok(truncated <= samples && samples >= 0);
      },
    ),
  );
});

test('a clock that is set back makes nothing heavier', () => {
  const baselines = new Baselines();
  baselines.add('p', 'w', counts(1000, 10), 10 * DAY);
  baselines.add('p', 'w', counts(1000, 10), 5 * DAY);
  assert.equal(baselines.entries()[0].samples, 2000);
});
