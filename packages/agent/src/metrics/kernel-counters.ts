// SPDX-License-Identifier: Apache-2.0
/** Shows the counters of the kernel side as metrics. Declared by shape: the session has them. */
import type { AgentMetrics } from './registry.ts';

/** Counted over all CPUs since the programs were loaded. */
export interface KernelCounts {
  readonly fired: number;
  readonly steps: number;
  readonly userFrames: number;
  readonly tailCalls: number;
  readonly stacksSent: number;
  readonly eventsLost: number;
  readonly windowReads: number;
  readonly framePointerSteps: number;
  readonly splicedWalks: number;
  readonly splicedFrames: number;
  readonly samplesWaiting: number;
  readonly deferredSamples: number;
  readonly deferredWalks: number;
  readonly deferredRefused: number;
}

/** A reason that occurred, after what the agent moved from one to another (`recovered`, `stack_body_lost`). */
export interface ReasonCount {
  readonly outcome: string;
  readonly reason: string;
  readonly count: number;
}

export interface KernelCountSource {
  /** Read together, so that the sum of `reasons` and `counts.fired` differ by samples in flight only. */
  read(): { readonly counts: KernelCounts; readonly reasons: readonly ReasonCount[] };
  /** Of the BPF programs, seconds and runs since they were loaded. */
  runTime(): { readonly seconds: number; readonly runs: number };
}

export function mirrorKernelCounters(metrics: AgentMetrics, source: KernelCountSource): void {
  const single = (value: number) => [{ labels: {}, value }];
  const figures = [
    ['samplesFired', 'fired'],
    ['unwindSteps', 'steps'],
    ['unwoundFrames', 'userFrames'],
    ['tailCalls', 'tailCalls'],
    ['stacksSent', 'stacksSent'],
    ['processEventsLost', 'eventsLost'],
    ['windowReads', 'windowReads'],
    ['framePointerSteps', 'framePointerSteps'],
    ['splicedWalks', 'splicedWalks'],
    ['splicedFrames', 'splicedFrames'],
    ['samplesWaiting', 'samplesWaiting'],
    ['deferredSamples', 'deferredSamples'],
    ['deferredWalks', 'deferredWalks'],
    ['deferredRefused', 'deferredRefused'],
  ] as const;
  // One look per scrape: metrics are collected one after the other within the same turn of the event loop.
  let seen: ReturnType<KernelCountSource['read']> | undefined;
  const read = () => {
    if (seen === undefined) {
      seen = source.read();
      queueMicrotask(() => {
        seen = undefined;
      });
    }
    return seen;
  };
  for (const [key, figure] of figures) metrics.mirror(key, () => single(read().counts[figure]));
  metrics.mirror('samples', () =>
    read().reasons.map(({ outcome, reason, count }) => ({ labels: { outcome, reason }, value: count })),
  );
  metrics.mirror('samplesUnaccounted', () => {
    const { counts, reasons } = read();
    return single(counts.fired - reasons.reduce((sum, { count }) => sum + count, 0));
  });
  metrics.mirror('bpfRunTime', () => single(source.runTime().seconds));
  metrics.mirror('bpfRuns', () => single(source.runTime().runs));
}
