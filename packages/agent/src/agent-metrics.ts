// SPDX-License-Identifier: Apache-2.0
/** Feeds the agent's metrics from where the figures are. */
import type { NodeProfilingSpec } from '@plumbline/api';
import { reasons } from '@plumbline/bpf';
import { systemClock } from './clock.ts';
import type { OtlpSender } from './export/otlp-sender.ts';
import type { Destination } from './exports.ts';
import { mirrorKernelCounters } from './metrics/kernel-counters.ts';
import { mirrorRecovery } from './metrics/recovery-counters.ts';
import type { AgentMetrics, Reading } from './metrics/registry.ts';
import { WorkloadSamples } from './metrics/workload-samples.ts';
import type { Profiler } from './profiler.ts';
import type { StackCount } from './samples/aggregate.ts';
import { outcomeNames, reasonNames } from './samples/decode.ts';
import type { Budget } from './session/budget.ts';
import type { KernelCounters } from './session/session.ts';
import type { Workloads } from './workloads/workloads.ts';

export interface FeedSources {
  readonly destinations: () => readonly Destination[];
  readonly profiler: () => Profiler | undefined;
  readonly budget: () => Budget | undefined;
  readonly ready: () => boolean;
  readonly configValid: () => boolean;
  readonly version: string;
  readonly kernel: string;
}

const ZERO: KernelCounters = {
  fired: 0,
  steps: 0,
  userFrames: 0,
  tailCalls: 0,
  stacksSent: 0,
  eventsLost: 0,
  windowReads: 0,
  framePointerSteps: 0,
  byReason: {},
};

export class AgentMetricsFeed {
  readonly #metrics: AgentMetrics;
  readonly #sources: FeedSources;
  readonly #workloads = new WorkloadSamples(systemClock);
  readonly #policies = new Map<string, Reading<'policySamples'>>();
  /** What profilers before the present one have counted. */
  #retired = ZERO;
  #retiredRun = { ns: 0, runs: 0 };
  #overhead = 0;
  /** Intervals reported so far. */
  intervals = 0;

  constructor(metrics: AgentMetrics, sources: FeedSources) {
    this.#metrics = metrics;
    this.#sources = sources;
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
    metrics.mirror('policySamples', () => this.#policies.values());
    mirrorRecovery(metrics, () => {
      const { session, recovery } = sources.profiler() ?? {};
      if (!session || !recovery) return undefined;
      const { recovered, failures, verdicts, pendingBytes } = recovery;
      return { spills: session.spills(), recovered, failures, verdicts, pendingBytes };
    });
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
      'ready',
      one(() => (sources.ready() ? 1 : 0)),
    );
    metrics.mirror(
      'configValid',
      one(() => (sources.configValid() ? 1 : 0)),
    );
    metrics.mirror('strategyInfo', () => {
      const profiler = sources.profiler();
      return profiler ? [{ labels: { strategy: profiler.session.strategy.name }, value: 1 }] : [];
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

  applied(): void {
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
      this.#workloads.add(image ? workloads.name(image) : 'unknown', outcome, reason, count);
      const policy = spec.rules[stack.policy - 1]?.policy.name ?? 'none';
      const key = `${policy}\0${reason}`;
      const before = this.#policies.get(key)?.value ?? 0;
      this.#policies.set(key, { labels: { policy, outcome, reason }, value: before + count });
      if (outcome !== 'kernel_only') this.#metrics.observe('stackDepth', { outcome }, stack.user.length, count);
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
    byReason,
  };
}
