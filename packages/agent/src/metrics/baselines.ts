// SPDX-License-Identifier: Apache-2.0
/** Shows what is usual for each workload as metrics. Declared by shape: the keeper of baselines has the figures. */
import { SERIES_PER_SUBJECT } from './reason-counts.ts';
import type { AgentMetrics } from './registry.ts';

export interface BaselineSource {
  /** The workloads that had samples last. */
  recent(limit: number): Iterable<{
    readonly policy: string;
    /** `namespace/name` where it is of a pod. */
    readonly workload: string;
    readonly truncatedRatio: number;
    readonly depth: number;
  }>;
  readonly rejected: number;
  readonly baselines: { readonly size: number; readonly forgotten: number };
}

/** @param maxWorkloadSeries bound on the series of samples by workload: as many workloads show their baseline */
export function mirrorBaselines(metrics: AgentMetrics, source: BaselineSource, maxWorkloadSeries: number): void {
  const limit = Math.floor(maxWorkloadSeries / SERIES_PER_SUBJECT);
  const shown = () =>
    [...source.recent(limit)].map(({ policy, workload, ...baseline }) => {
      const slash = workload.indexOf('/');
      const labels = { namespace: workload.slice(0, Math.max(0, slash)), workload: workload.slice(slash + 1), policy };
      return { labels, ...baseline };
    });
  metrics.mirror('workloadBaseline', () =>
    shown().map(({ labels, truncatedRatio }) => ({ labels, value: truncatedRatio })),
  );
  metrics.mirror('workloadBaselineDepth', () => shown().map(({ labels, depth }) => ({ labels, value: depth })));
  metrics.mirror('baselines', () => [{ labels: {}, value: source.baselines.size }]);
  metrics.mirror('baselinesForgotten', () => [{ labels: {}, value: source.baselines.forgotten }]);
  metrics.mirror('baselineFilesRejected', () => [{ labels: {}, value: source.rejected }]);
}
