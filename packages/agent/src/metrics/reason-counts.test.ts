// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ManualClock } from '../clock.ts';
import { OTHER, ReasonCounts, SERIES_PER_SUBJECT } from './reason-counts.ts';

const counts = (clock: ManualClock, subjects: number) =>
  new ReasonCounts({ clock, maxSeries: (subjects + 1) * SERIES_PER_SUBJECT, other: { workload: OTHER } });

function shown(of: ReasonCounts<{ workload: string }>): Record<string, number> {
  return Object.fromEntries(
    [...of.read()].map(({ labels, value }) => [`${labels.workload} ${labels.outcome} ${labels.reason}`, value]),
  );
}

test('subjects beyond the bound are counted as other, and idle ones make room', async () => {
  const clock = new ManualClock();
  const workloads = counts(clock, 2);
  for (const workload of ['a', 'b', 'c', 'd', 'a']) workloads.add({ workload }, 'complete', 'r', 1);
  assert.deepEqual(shown(workloads), { 'b complete r': 1, 'a complete r': 2, 'other complete r': 2 });
  assert.deepEqual([workloads.own, workloads.others], [2, 2]);

  await clock.advance(10 * 60_000);
  workloads.add({ workload: 'a' }, 'complete', 'r', 1);
  await clock.advance(10 * 60_000);
  assert.equal(workloads.others, 0, 'of the last quarter of an hour');
  workloads.add({ workload: 'c' }, 'complete', 'r', 5); // b has been idle for 20 minutes
  workloads.add({ workload: 'd' }, 'complete', 'r', 5); // a for 10
  assert.deepEqual(shown(workloads), { 'a complete r': 3, 'c complete r': 5, 'other complete r': 7 });
  assert.deepEqual([workloads.own, workloads.others], [2, 1]);
});

test('more reasons than have room are counted together under their outcome', () => {
  const workloads = counts(new ManualClock(), 1);
  for (let i = 0; i < 20; i++) workloads.add({ workload: 'a' }, 'truncated', `reason_${i}`, 2);
  workloads.add({ workload: 'a' }, 'complete', 'late', 3);
  const now = shown(workloads);
  assert.equal(now['a truncated reason_7'], 2);
  assert.equal(now['a truncated other'], 24);
  assert.equal(now['a complete other'], 3);
});

test('whatever is counted, nothing is lost and the bound holds', () => {
  const sample = fc.record({
    workload: fc.integer({ min: 0, max: 40 }).map(String),
    outcome: fc.constantFrom('complete', 'recovered', 'truncated', 'kernel_only'),
    reason: fc.integer({ min: 0, max: 30 }).map((n) => `r${n}`),
    count: fc.integer({ min: 1, max: 1000 }),
  });
  fc.assert(
    fc.property(fc.array(sample, { maxLength: 400 }), fc.integer({ min: 24, max: 300 }), (samples, maxSeries) => {
      const of = new ReasonCounts({ clock: new ManualClock(), maxSeries, other: { workload: OTHER } });
      const truth = new Map<string, number>();
      for (const { workload, outcome, reason, count } of samples) {
        of.add({ workload }, outcome, reason, count);
        truth.set(outcome, (truth.get(outcome) ?? 0) + count);
      }
      const series = [...of.read()];
      assert.ok(series.length <= maxSeries);
      assert.equal(new Set(series.map(({ labels }) => JSON.stringify(labels))).size, series.length);
      for (const [outcome, count] of truth)
        assert.equal(
          series.reduce((sum, { labels, value }) => sum + (labels.outcome === outcome ? value : 0), 0),
          count,
        );
    }),
  );
});
