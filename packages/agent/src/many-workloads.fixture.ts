// SPDX-License-Identifier: Apache-2.0
/** The HTTP server of an agent whose node runs very many workloads: for a test and a measurement of /metrics. */
import type { NodeProfilingSpec } from '@plumbline/api';
import { AgentMetricsFeed } from './agent-metrics.ts';
import { Health } from './http/health.ts';
import { RecentProfiles } from './http/recent-profiles.ts';
import { type HttpServer, startHttpServer } from './http/server.ts';
import { silentLogger } from './log.ts';
import { AgentMetrics } from './metrics/registry.ts';
import { ProcessImage } from './processes/process-image.ts';
import type { Profiler } from './profiler.ts';
import type { StackCount } from './samples/aggregate.ts';
import { outcomeNames } from './samples/decode.ts';
import type { Workload } from './workloads/workload.ts';
import { Workloads } from './workloads/workloads.ts';

export const POLICY = 'everything';
const SPEC = {
  rules: [{ policy: { name: POLICY }, objective: { truncatedRatio: '0.02', window: '10m' } }],
} as NodeProfilingSpec;
/** Every reason of samples that reach the agent. */
export const REASONS = outcomeNames.flatMap((outcome, number) =>
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

/** One interval with a sample of every reason of each workload has been reported. @param maxSeries as configured */
export async function manyWorkloads(workloads: number, maxSeries: number): Promise<HttpServer> {
  const metrics = new AgentMetrics();
  const profiler = { processes: { image: (tgid: number) => new ProcessImage(tgid, 1, 1, 0) } } as unknown as Profiler;
  const feed = new AgentMetricsFeed(metrics, {
    destinations: () => [],
    profiler: () => undefined,
    strategy: () => undefined,
    budget: () => undefined,
    baselines: {
      *recent(limit) {
        for (let i = 0; i < Math.min(limit, workloads); i++)
          yield { policy: POLICY, workload: `team-1/pod-${i}`, truncatedRatio: 0.125, depth: 30.5 };
      },
      rejected: 1,
      baselines: { size: workloads, forgotten: 2 },
    },
    ready: () => true,
    configValid: () => true,
    version: '0.0.0',
    kernel: '6.18.0',
    maxWorkloadSeries: maxSeries,
  });
  feed.applied(SPEC);
  const counts = Array.from({ length: workloads }, (_, i) => REASONS.map((reason) => stackOf(i + 1, reason, 1))).flat();
  feed.interval(counts, SPEC, new ManyPods(), profiler, 0.1);

  return startHttpServer({
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
}
