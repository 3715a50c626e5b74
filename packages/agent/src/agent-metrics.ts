// SPDX-License-Identifier: Apache-2.0
/** Feeds the agent's metrics from where the figures are. */
import type { NodeProfilingSpec } from '@plumbline/api';
import { reasons } from '@plumbline/bpf';
import { systemClock } from './clock.ts';
import type { OtlpSender } from './export/otlp-sender.ts';
import type { Destination } from './exports.ts';
import { type BaselineSource, mirrorBaselines } from './metrics/baselines.ts';
import { mirrorKernelCounters } from './metrics/kernel-counters.ts';
import { OTHER, ReasonCounts } from './metrics/reason-counts.ts';
import { mirrorRecovery } from './metrics/recovery-counters.ts';
import type { AgentMetrics } from './metrics/registry.ts';
import type { Profiler } from './profiler.ts';
import type { StackCount } from './samples/aggregate.ts';
import { outcomeNames, reasonNames } from './samples/decode.ts';
import type { Budget } from './session/budget.ts';
import type { KernelCounters } from './session/session.ts';
import type { ChosenStrategy } from './strategy-choice.ts';
import { runtimeOf } from './workloads/runtime.ts';
import type { WorkloadLabels } from './workloads/workload.ts';
import type { Workloads } from './workloads/workloads.ts';

export interface FeedSources {
  readonly destinations: () => readonly Destination[];
  /** How the strategy was chosen. */
  readonly strategy: () => ChosenStrategy | undefined;
  readonly profiler: () => Profiler | undefined;
  readonly budget: () => Budget | undefined;
  readonly baselines: BaselineSource;
  readonly ready: () => boolean;
  readonly configValid: () => boolean;
  readonly version: string;
  readonly kernel: string;
  readonly maxWorkloadSeries: number;
}

/** Policies of a node, and runtimes: a bound that only defects or a great many renamed policies reach. */
const MAX_SERIES = 1200;

const ZERO: KernelCounters = {
  fired: 0,
  steps: 0,
  userFrames: 0,
  tailCalls: 0,
  stacksSent: 0,
  eventsLost: 0,
  windowReads: 0,
  framePointerSteps: 0,
  splicedWalks: 0,
  splicedFrames: 0,
  samplesWaiting: 0,
  deferredSamples: 0,
  deferredWalks: 0,
  deferredRefused: 0,
  byReason: {},
};

export class AgentMetricsFeed {
  readonly #metrics: AgentMetrics;
  readonly #sources: FeedSources;
  readonly #workloads: ReasonCounts<WorkloadLabels & { readonly policy: string }>;
  readonly #policies = bounded({ policy: OTHER });
  readonly #runtimes = bounded({ runtime: OTHER });
  #objectives: readonly { readonly policy: string; readonly ratio: number }[] = [];
  /** What profilers before the present one have counted. */
  #retired = ZERO;
  #retiredRun = { ns: 0, runs: 0 };
  #overhead = 0;
  /** Intervals reported so far. */
  intervals = 0;

  constructor(metrics: AgentMetrics, sources: FeedSources) {
    this.#metrics = metrics;
    this.#sources = sources;
    this.#workloads = new ReasonCounts({
      clock: systemClock,
      maxSeries: sources.maxWorkloadSeries,
      other: { namespace: '', workload: OTHER, container: '', policy: '' },
    });
    mirrorKernelCounters(metrics, {
      read: () => {
        const counts = this.#counters();
        const outcomes = new Map<string, string>(reasons.map(({ name, outcome }) => [name, outcome]));
        return {
          counts,
          reasons: Object.entries(counts.byReason).map(([reason, count]) => ({
            outcome: outcomes.get(reason) ?? 'truncated',
            reason,
            count,
          })),
        };
      },
      runTime: () => {
        const now = sources.profiler()?.session.runTime() ?? { ns: 0, runs: 0 };
        return { seconds: (now.ns + this.#retiredRun.ns) / 1e9, runs: now.runs + this.#retiredRun.runs };
      },
    });
    metrics.mirror('workloadSamples', () => this.#workloads.read());
    metrics.mirror('policySamples', () => this.#policies.read());
    metrics.mirror('runtimeSamples', () => this.#runtimes.read());
    metrics.mirror('workloads', () => [
      { labels: { shown: 'own' }, value: this.#workloads.own },
      { labels: { shown: 'other' }, value: this.#workloads.others },
    ]);
    metrics.set('workloadSeriesLimit', {}, sources.maxWorkloadSeries);
    metrics.mirror('policyObjective', () =>
      this.#objectives.map(({ policy, ratio }) => ({ labels: { policy }, value: ratio })),
    );
    mirrorRecovery(metrics, () => {
      const { session, recovery } = sources.profiler() ?? {};
      if (!session || !recovery) return undefined;
      const { recovered, failures, verdicts, pendingBytes } = recovery;
      return { spills: session.spills(), recovered, failures, verdicts, pendingBytes };
    });
    mirrorBaselines(metrics, sources.baselines, sources.maxWorkloadSeries);
    this.#mirrorTables();
    this.#mirrorExports();
    const one = (read: () => number) => () => [{ labels: {}, value: read() }];
    metrics.mirror(
      'sideBandLost',
      one(() => sources.profiler()?.pipeline.sideBandLost ?? 0),
    );
    metrics.mirror(
      'malformedRecords',
      one(() => sources.profiler()?.pipeline.malformed ?? 0),
    );
    metrics.mirror(
      'overhead',
      one(() => this.#overhead),
    );
    metrics.mirror(
      'overheadBudget',
      one(() => sources.budget()?.ratio ?? 0),
    );
    metrics.mirror(
      'samplingFrequency',
      one(() => sources.budget()?.frequencyHz ?? 0),
    );
    metrics.mirror(
      'throttled',
      one(() => (sources.budget()?.throttled ? 1 : 0)),
    );
    metrics.mirror(
      'budgetExhausted',
      one(() => (sources.budget()?.exhausted ? 1 : 0)),
    );
    metrics.mirror(
      'ready',
      one(() => (sources.ready() ? 1 : 0)),
    );
    metrics.mirror(
      'configValid',
      one(() => (sources.configValid() ? 1 : 0)),
    );
    metrics.mirror('strategyInfo', () => {
      const profiler = sources.profiler();
      const chosen = sources.strategy();
      if (!profiler || !chosen) return [];
      const newer = chosen.newer ? `${chosen.newer.strategy} (Linux ${chosen.newer.since})` : '';
      return [{ labels: { strategy: profiler.session.strategy.name, why: chosen.why, newer }, value: 1 }];
    });
    metrics.set('buildInfo', { version: sources.version, node: process.version, kernel: sources.kernel }, 1);
  }

  /** A profiler is about to be replaced: its counts stay. */
  retire(counters: KernelCounters): void {
    this.#retired = add(this.#retired, counters);
    const run = this.#sources.profiler()?.session.runTime();
    if (run) this.#retiredRun = { ns: this.#retiredRun.ns + run.ns, runs: this.#retiredRun.runs + run.runs };
  }

  overhead(ratio: number): void {
    this.#overhead = ratio;
  }

  applied({ rules }: NodeProfilingSpec): void {
    this.#objectives = rules.map(({ policy, objective }) => ({
      policy: policy.name,
      ratio: Number(objective.truncatedRatio),
    }));
    this.#metrics.set('configApplied', {}, systemClock.wallMs() / 1e3);
  }

  interval(
    counts: readonly StackCount[],
    spec: NodeProfilingSpec,
    workloads: Workloads,
    profiler: Profiler,
    buildSeconds: number,
  ): void {
    this.intervals++;
    for (const { stack, count } of counts) {
      const outcome = outcomeNames[stack.reason] ?? 'truncated';
      const reason = reasonNames[stack.reason] ?? 'internal_error';
      const image = profiler.processes.image(stack.tgid, stack.generation);
      const policy = spec.rules[stack.policy - 1]?.policy.name ?? '';
      const labels = image ? workloads.labels(image) : { namespace: '', workload: 'unknown', container: '' };
      this.#workloads.add({ ...labels, policy }, outcome, reason, count);
      this.#policies.add({ policy }, outcome, reason, count);
      this.#runtimes.add({ runtime: image ? runtimeOf(image.mappings) : 'unknown' }, outcome, reason, count);
      if (outcome === 'kernel_only') continue;
      this.#metrics.observe('stackDepth', { outcome }, stack.user.length, count);
      this.#metrics.observe('walkSteps', { outcome }, stack.steps, count);
    }
    this.#metrics.observe('symbolization', {}, buildSeconds);
  }

  #counters(): KernelCounters {
    const now = this.#sources.profiler()?.counters();
    return now ? add(this.#retired, now) : this.#retired;
  }

  #mirrorTables(): void {
    const metrics = this.#metrics;
    const usage = () => this.#sources.profiler()?.session.tables.usage;
    metrics.mirror('processes', () => [{ labels: {}, value: this.#sources.profiler()?.processes.size ?? 0 }]);
    const tables = (kind: 'used' | 'capacity') => () => {
      const now = usage();
      if (!now) return [];
      const rows: [string, number, number][] = [
        ['segments', now.segments, now.segmentCapacity],
        ['mappings', now.mappings, now.mappingCapacity],
        ['processes', now.processes, now.processCapacity],
        ['shards', now.tableBytes, now.tableCapacityBytes],
      ];
      return rows.map(([table, used, capacity]) => ({ labels: { table }, value: kind === 'used' ? used : capacity }));
    };
    metrics.mirror('tableEntries', tables('used'));
    metrics.mirror('tableCapacity', tables('capacity'));
    metrics.mirror('unwindTableAge', () => {
      const oldest = { pending: 0, ready: 0 };
      const now = performance.now();
      for (const { state, since } of this.#sources.profiler()?.executables.values() ?? [])
        if (state === 'pending' || state === 'ready') oldest[state] = Math.max(oldest[state], (now - since) / 1e3);
      return Object.entries(oldest).map(([state, value]) => ({ labels: { state }, value }));
    });
    metrics.mirror('unwindTableBytes', () => [{ labels: {}, value: usage()?.tableBytes ?? 0 }]);
    metrics.mirror('executables', () => {
      const states: Record<string, number> = { pending: 0, ready: 0, anonymous: 0, failed: 0 };
      for (const { state } of this.#sources.profiler()?.executables.values() ?? []) states[state]++;
      return Object.entries(states).map(([state, value]) => ({ labels: { state }, value }));
    });
  }

  #mirrorExports(): void {
    const metrics = this.#metrics;
    const senders = () =>
      this.#sources
        .destinations()
        .flatMap(({ name, exporter }) => ('statistics' in exporter ? [{ name, of: exporter.statistics }] : []));
    metrics.mirror('exportedSamples', () =>
      senders().flatMap(({ name, of }) => [
        { labels: { exporter: name, result: 'sent' }, value: of.samplesSent },
        ...Object.entries(of.samplesDropped).map(([cause, value]) => ({
          labels: { exporter: name, result: cause },
          value,
        })),
      ]),
    );
    metrics.mirror('exportRequests', () =>
      senders().flatMap(({ name, of }) => [
        { labels: { exporter: name, result: 'success' }, value: of.requestsSent },
        { labels: { exporter: name, result: 'retryable' }, value: of.retries },
        { labels: { exporter: name, result: 'dropped' }, value: sum(of.requestsDropped) },
      ]),
    );
    metrics.mirror('exportQueueBytes', () =>
      senders().flatMap(({ name, of }) => [
        { labels: { exporter: name, place: 'memory' }, value: of.queuedBytes },
        { labels: { exporter: name, place: 'disk' }, value: of.spooledBytes },
      ]),
    );
    const each = (read: (of: OtlpSender['statistics']) => number) => () =>
      senders().map(({ name, of }) => ({ labels: { exporter: name }, value: read(of) }));
    metrics.mirror(
      'rejectedProfiles',
      each((of) => of.profilesRejected),
    );
    metrics.mirror(
      'exportBytes',
      each((of) => of.bytesSent),
    );
    metrics.mirror(
      'exportQueueRequests',
      each((of) => of.queued),
    );
    metrics.mirror(
      'exportLastSuccess',
      each((of) => of.lastSuccessMs / 1e3),
    );
    metrics.mirror(
      'exportUp',
      each((of) => (of.lastError === '' ? 1 : 0)),
    );
  }
}

function bounded<L extends { readonly [K in keyof L]: string }>(other: L): ReasonCounts<L> {
  return new ReasonCounts({ clock: systemClock, maxSeries: MAX_SERIES, other });
}

function sum(counts: Readonly<Record<string, number | undefined>>): number {
  return Object.values(counts).reduce<number>((total, count) => total + (count ?? 0), 0);
}

function add(a: KernelCounters, b: KernelCounters): KernelCounters {
  const byReason = { ...a.byReason };
  for (const [reason, count] of Object.entries(b.byReason)) byReason[reason] = (byReason[reason] ?? 0) + count;
  return {
    fired: a.fired + b.fired,
    steps: a.steps + b.steps,
    userFrames: a.userFrames + b.userFrames,
    tailCalls: a.tailCalls + b.tailCalls,
    stacksSent: a.stacksSent + b.stacksSent,
    eventsLost: a.eventsLost + b.eventsLost,
    windowReads: a.windowReads + b.windowReads,
    framePointerSteps: a.framePointerSteps + b.framePointerSteps,
    splicedWalks: a.splicedWalks + b.splicedWalks,
    splicedFrames: a.splicedFrames + b.splicedFrames,
    samplesWaiting: a.samplesWaiting + b.samplesWaiting,
    deferredSamples: a.deferredSamples + b.deferredSamples,
    deferredWalks: a.deferredWalks + b.deferredWalks,
    deferredRefused: a.deferredRefused + b.deferredRefused,
    byReason,
  };
}
