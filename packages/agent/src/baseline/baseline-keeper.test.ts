// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { reasons } from '@plumbline/bpf';
import { ManualClock } from '../clock.ts';
import { silentLogger } from '../log.ts';
import type { StackCount } from '../samples/aggregate.ts';
import { BaselineKeeper } from './baseline-keeper.ts';

const HOUR = 3_600_000;
let directory: string;
let clock: ManualClock;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'plumbline-keeper-'));
  clock = new ManualClock(Date.UTC(2026, 0, 1));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

const keeper = (stateDirectory = directory) => new BaselineKeeper({ stateDirectory, clock, log: silentLogger });
const count = (policy: number, reason: string, samples: number, depth = 20) =>
  ({
    stack: { policy, reason: reasons.find(({ name }) => name === reason)?.number, user: new Float64Array(depth) },
    count: samples,
  }) as unknown as StackCount;

test('the samples of an interval count for their policy and workload, kernel threads for nothing', () => {
  const kept = keeper();
  const stacks = [
    count(1, 'root_undefined_ra', 900, 30),
    count(1, 'no_unwind_info', 100, 10),
    count(2, 'recovered', 1000),
    count(1, 'kernel_thread', 5000),
    count(0, 'frame_limit', 5000),
  ];
  kept.observe(stacks, ['shop', 'rest'], ({ stack }) => `ns/w${stack.policy}`);
  clock.advance(HOUR);
  assert.deepEqual(
    [...kept.recent(10)].map(({ policy, workload, truncatedRatio, depth }) => [
      policy,
      workload,
      truncatedRatio.toFixed(3),
      depth.toFixed(1),
    ]),
    [
      ['rest', 'ns/w2', '0.000', '20.0'],
      ['shop', 'ns/w1', '0.100', '28.0'],
    ],
  );
  assert.equal(kept.ofPolicies(['shop', 'rest'])?.truncatedRatio.toFixed(3), '0.050');
});

test('an agent that is replaced remembers; one that is killed loses five minutes', () => {
  const first = keeper();
  first.observe([count(1, 'frame_limit', 600)], ['p'], () => 'w');
  assert.equal(keeper().baselines.size, 0, 'nothing is written yet');
  first.save();
  clock.advance(HOUR);
  assert.equal(keeper().of('p', 'w')?.truncatedRatio, 1);

  const second = keeper();
  second.observe([count(1, 'root_entry', 10)], ['p'], () => 'other');
  assert.equal(keeper().baselines.size, 1);
  clock.advance(5 * 60_000);
  second.observe([count(1, 'root_entry', 10)], ['p'], () => 'other');
  assert.equal(keeper().baselines.size, 2);
});

test('a bad file is counted, and everything starts anew', () => {
  writeFileSync(join(directory, 'baselines.json'), '{');
  const kept = keeper();
  assert.deepEqual([kept.rejected, kept.baselines.size], [1, 0]);
  kept.observe([count(1, 'root_entry', 10)], ['p'], () => 'w');
  kept.save();
  const next = keeper();
  assert.deepEqual([next.rejected, next.baselines.size], [0, 1]);
});

test('without a folder that can be written the agent goes on', () => {
  writeFileSync(join(directory, 'file'), '');
  const kept = keeper(join(directory, 'file', 'state'));
  kept.observe([count(1, 'root_entry', 600)], ['p'], () => 'w');
  kept.save();
  clock.advance(HOUR);
  assert.equal(kept.of('p', 'w')?.truncatedRatio, 0);
});
