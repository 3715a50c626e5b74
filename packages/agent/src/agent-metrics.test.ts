// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { NodeProfilingSpec } from '@plumbline/api';
import { AgentMetricsFeed } from './agent-metrics.ts';
import { Health } from './http/health.ts';
import { RecentProfiles } from './http/recent-profiles.ts';
import { startHttpServer } from './http/server.ts';
import { silentLogger } from './log.ts';
import { AgentMetrics } from './metrics/registry.ts';
import { ProcessImage } from './processes/process-image.ts';
import type { Profiler } from './profiler.ts';
import type { StackCount } from './samples/aggregate.ts';
import { outcomeNames } from './samples/decode.ts';
import type { Workload } from './workloads/workload.ts';
import { Workloads } from './workloads/workloads.ts';

const WORKLOADS = 2000;
const LIMIT = 4000;
const POLICY = 'everything';
const SPEC = {
  rules: [{ policy: { name: POLICY }, objective: { truncatedRatio: '0.02', window: '10m' } }],
} as NodeProfilingSpec;
const REASONS = outcomeNames.flatMap((outcome, number) =>
  outcome !== undefined && ['complete', 'recovered', 'truncated', 'kernel_only'].includes(outcome) ? [number] : [],
);

/** A node of so many pods, one process each. */
class ManyPods extends Workloads {
  override of(tgid: number): Workload {
    const pod = { namespace: `team-${tgid % 50}`, name: `pod-${tgid}`, uid: '', labels: {}, owner: undefined };
    return { containerId: `c${tgid}`, pod, containerName: 'main' };
  }
}

function stackOf(tgid: number, reason: number, count: number): StackCount {
  const stack = { tgid, generation: 1, policy: 1, reason, steps: 30, user: new Float64Array(30) };
  return { stack, count, threads: new Map() } as unknown as StackCount;
}

test('2,000 workloads with every reason make no more series than configured, and /metrics says how many are not shown', async (t) => {
  const metrics = new AgentMetrics();
  const profiler = { processes: { image: (tgid: number) => new ProcessImage(tgid, 1, 1, 0) } } as unknown as Profiler;
  const feed = new AgentMetricsFeed(metrics, {
    destinations: () => [],
    profiler: () => undefined,
    budget: () => undefined,
    baselines: {
      *recent(limit) {
        for (let i = 0; i < Math.min(limit, WORKLOADS); i++)
          yield { policy: POLICY, workload: `team-1/pod-${i}`, truncatedRatio: 0.125, depth: 30.5 };
      },
      rejected: 1,
      baselines: { size: WORKLOADS, forgotten: 2 },
    },
    ready: () => true,
    configValid: () => true,
    version: '0.0.0',
    kernel: '6.18.0',
    maxWorkloadSeries: LIMIT,
  });
  feed.applied(SPEC);
  const counts = Array.from({ length: WORKLOADS }, (_, i) => REASONS.map((reason) => stackOf(i + 1, reason, 1))).flat();
  feed.interval(counts, SPEC, new ManyPods(), profiler, 0.1);

  const server = await startHttpServer({
    listen: { host: '127.0.0.1', port: 0 },
    metrics,
    health: new Health(),
    recent: new RecentProfiles({ windowMs: 60_000 }),
    sentences: new Map(),
    facts: () => [],
    refreshSeconds: 10,
    version: '0.0.0',
    log: silentLogger,
  });
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
