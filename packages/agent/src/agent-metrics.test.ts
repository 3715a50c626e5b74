// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { manyWorkloads, POLICY, REASONS } from './many-workloads.fixture.ts';

const WORKLOADS = 2000;
const LIMIT = 4000;

test('2,000 workloads with every reason make no more series than configured, and /metrics says how many are not shown', async (t) => {
  const server = await manyWorkloads(WORKLOADS, LIMIT);
  t.after(() => server.close());
  const times: number[] = [];
  let text = '';
  for (let i = 0; i < 5; i++) {
    const begun = performance.now();
    text = await (await fetch(`http://${server.address}/metrics`)).text();
    times.push(performance.now() - begun);
  }
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  const ofWorkloads = lines.filter((line) => line.startsWith('plumbline_workload_samples_total{'));
  t.diagnostic(
    `${lines.length} series, ${ofWorkloads.length} of them by workload, in ${times.map((ms) => ms.toFixed(0)).join(', ')} ms`,
  );
  assert.ok(ofWorkloads.length <= LIMIT && ofWorkloads.length > LIMIT * 0.8, `${ofWorkloads.length} series`);
  assert.ok(lines.length < LIMIT + 1500, `${lines.length} series in all`);
  const value = (name: string) => Number(lines.find((line) => line.startsWith(name))?.split(' ')[1]);
  assert.equal(value('plumbline_workloads{shown="own"}') + value('plumbline_workloads{shown="other"}'), WORKLOADS);
  assert.equal(value('plumbline_workload_series_limit'), LIMIT);
  assert.equal(value(`plumbline_policy_objective_ratio{policy="${POLICY}"}`), 0.02);
  for (const [name, of] of [
    ['plumbline_workload_baseline_truncated_ratio', 0.125],
    ['plumbline_workload_baseline_depth', 30.5],
  ] as const) {
    const shown = lines.filter((line) => line.startsWith(`${name}{`));
    assert.equal(shown.length, Math.floor(LIMIT / 12), 'as many workloads as have series of their own');
    assert.equal(shown[0], `${name}{namespace="team-1",workload="pod-0",policy="${POLICY}"} ${of}`);
  }
  assert.equal(value('plumbline_baseline_files_rejected_total'), 1);
  const sum = ofWorkloads.reduce((total, line) => total + Number(line.slice(line.lastIndexOf(' '))), 0);
  assert.equal(sum, WORKLOADS * REASONS.length, 'every sample is in one series');
});
