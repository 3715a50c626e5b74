// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock, systemClock, wallNsOf } from './clock.ts';

test('a manual clock runs timers in order and repeats periodic ones', async () => {
  const clock = new ManualClock(1000);
  const seen: string[] = [];
  const stop = clock.every(10, () => seen.push(`tick ${clock.wallMs()}`));
  void clock.sleep(15).then(() => seen.push(`slept ${clock.wallMs()}`));
  await clock.advance(25);
  stop();
  await clock.advance(100);
  assert.deepEqual(seen, ['tick 1010', 'slept 1015', 'tick 1020']);
  assert.equal(clock.monotonicNs(), 1_125_000_000n);
});

test('sleep ends at once when aborted, on both clocks', async () => {
  for (const clock of [systemClock, new ManualClock()]) {
    const abort = new AbortController();
    const slept = clock.sleep(3_600_000, abort.signal);
    abort.abort();
    await slept;
    await clock.sleep(3_600_000, abort.signal);
  }
});

test('a monotonic time becomes a wall time by the distance between the clocks', () => {
  const clock = new ManualClock(5000);
  assert.equal(wallNsOf(4_000_000_000n, clock), 4_000_000_000n);
  const now = Number(wallNsOf(process.hrtime.bigint()) / 1_000_000n);
  assert.ok(Math.abs(now - Date.now()) < 1000);
});
