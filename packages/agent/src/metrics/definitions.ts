// SPDX-License-Identifier: Apache-2.0
/**
 * Every metric of the agent, once: name, type, labels, meaning. `docs/metrics.md` is generated from this list, and the
 * registry refuses anything that is not on it. Counters end in `_total`; units are base units and part of the name.
 */

export type MetricType = 'counter' | 'gauge' | 'histogram';

export interface MetricDefinition {
  readonly name: string;
  readonly type: MetricType;
  /** A sentence without a full stop. */
  readonly help: string;
  /** Name of each label, and what it says. */
  readonly labels: Readonly<Record<string, string>>;
  /** Upper bounds, of histograms. */
  readonly buckets?: readonly number[];
}

export interface MetricSection {
  readonly title: string;
  readonly metrics: Readonly<Record<string, MetricDefinition>>;
}

type Labels = Readonly<Record<string, string>>;
type None = Readonly<Record<never, string>>;

function counter<const L extends Labels = None>(name: `plumbline_${string}_total`, help: string, labels = {} as L) {
  return { name, type: 'counter', help, labels } as const;
}

function gauge<const L extends Labels = None>(name: `plumbline_${string}`, help: string, labels = {} as L) {
  return { name, type: 'gauge', help, labels } as const;
}

function histogram<const L extends Labels = None>(
  name: `plumbline_${string}`,
  help: string,
  buckets: readonly number[],
  labels = {} as L,
) {
  return { name, type: 'histogram', help, labels, buckets } as const;
}

const OUTCOME = { outcome: 'What became of the sample', reason: 'Why; see reasons.md' } as const;
const WORKLOAD = {
  namespace: 'Of the pod; empty outside of pods',
  workload:
    'Name of the pod’s owner, a container’s id, or a program of the host; `other`: all without series of their own',
} as const;
const EXPORTER = { exporter: 'Name of the export in the configuration' } as const;
const SECONDS = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30] as const;

export const SAMPLE_METRICS = {
  samplesFired: counter(
    'plumbline_samples_fired_total',
    'Samples that fired; equals the sum of plumbline_samples_total',
  ),
  samples: counter(
    'plumbline_samples_total',
    'Samples by outcome and reason; every sample that fired is in exactly one',
    OUTCOME,
  ),
  samplesUnaccounted: gauge(
    'plumbline_samples_unaccounted',
    'Samples that fired but have no outcome; a handful are in flight at any time, a number that grows is a defect',
  ),
  samplesWaiting: gauge(
    'plumbline_samples_waiting',
    'Samples that wait for their task to come back to user space (strategy deferred); they fire, for the counters, when it does',
  ),
  workloadSamples: counter('plumbline_workload_samples_total', 'Samples that reached the agent, by workload', {
    ...WORKLOAD,
    container: 'Name of the container; empty outside of pods',
    policy: 'Policy that selected the process',
    ...OUTCOME,
  }),
  policySamples: counter(
    'plumbline_policy_samples_total',
    'Samples that reached the agent, by the policy that selected the process',
    { policy: 'Name of the policy', ...OUTCOME },
  ),
  runtimeSamples: counter('plumbline_runtime_samples_total', 'Samples that reached the agent, by language runtime', {
    runtime:
      'By the files that the process has mapped: jvm, python, nodejs, ruby, php, perl, dotnet, beam, lua, go, else native',
    ...OUTCOME,
  }),
  workloads: gauge(
    'plumbline_workloads',
    'Containers of workloads that were sampled lately, by whether plumbline_workload_samples_total shows them',
    { shown: 'own (series of its own) or other (counted as workload `other` for want of series)' },
  ),
  workloadSeriesLimit: gauge(
    'plumbline_workload_series_limit',
    'Most series of plumbline_workload_samples_total, by agent.metrics.maxWorkloadSeries',
  ),
  policyObjective: gauge(
    'plumbline_policy_objective_ratio',
    'Largest truncated ratio that keeps the promise of a policy, as in force on this node',
    { policy: 'Name of the policy' },
  ),
} as const;

const BASELINE = { ...WORKLOAD, policy: 'Policy that selected the process' } as const;

export const BASELINE_METRICS = {
  workloadBaseline: gauge(
    'plumbline_workload_baseline_truncated_ratio',
    'Usual truncated ratio of a workload on this node: samples of the last days, half-life two days, also before the agent was restarted. Shown from 500 samples and an hour on, for the workloads that had samples last, as many as have series of their own',
    BASELINE,
  ),
  workloadBaselineDepth: gauge(
    'plumbline_workload_baseline_depth',
    'Usual depth of the stacks of a workload on this node: user frames of a sample on average, as above',
    BASELINE,
  ),
  baselines: gauge('plumbline_baselines', 'Workloads of which the agent remembers what is usual; at most 2,000'),
  baselinesForgotten: counter('plumbline_baselines_forgotten_total', 'Workloads that were forgotten for want of room'),
  baselineFilesRejected: counter(
    'plumbline_baseline_files_rejected_total',
    'Files of baselines that could not be used when the agent started, so that baselines began anew',
  ),
} as const;

export const WALK_METRICS = {
  stackDepth: histogram(
    'plumbline_stack_depth_frames',
    'User frames per sample',
    [4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096],
    {
      outcome: 'What became of the sample',
    },
  ),
  walkSteps: histogram(
    'plumbline_walk_steps',
    'Steps from a frame to its caller that the walk of a sample took in the kernel',
    [4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096],
    { outcome: 'What became of the sample' },
  ),
  strategyInfo: gauge('plumbline_strategy_info', 'Always 1; the unwind strategy in use', {
    strategy: 'tailCall, loop or deferred',
    why: 'requested (by a policy), best, refused (the kernel has no better one), self_test (better ones did not stand it) or unproven (none has)',
    newer: 'Better strategy that a newer kernel would give, and that kernel; empty: none',
  }),
  unwindSteps: counter(
    'plumbline_unwind_steps_total',
    'Steps from a frame to its caller that were tried in the kernel',
  ),
  unwoundFrames: counter('plumbline_unwound_frames_total', 'User frames found in the kernel'),
  framePointerSteps: counter(
    'plumbline_unwind_frame_pointer_steps_total',
    'Steps by frame pointer, for want of unwind information',
  ),
  splicedWalks: counter(
    'plumbline_unwind_spliced_walks_total',
    'Walks of which the outer part was verified against the last walk of the thread, in place of walking it',
  ),
  splicedFrames: counter('plumbline_unwind_spliced_frames_total', 'User frames of these parts'),
  deferredSamples: counter(
    'plumbline_deferred_samples_total',
    'Samples whose walk was left to the task, strategy deferred',
  ),
  deferredWalks: counter('plumbline_deferred_walks_total', 'Walks by tasks, each for one or more of these samples'),
  deferredRefused: counter(
    'plumbline_deferred_refused_total',
    'Samples whose task could not be asked for a walk: walked in the interrupt',
  ),
  tailCalls: counter('plumbline_unwind_tail_calls_total', 'Tail calls used by walks, strategy tailCall'),
  windowReads: counter('plumbline_unwind_window_reads_total', 'Windows of stack memory read by walks'),
  stacksSent: counter(
    'plumbline_stacks_sent_total',
    'Stacks sent to the agent with all frames; repeated stacks are sent once per epoch',
  ),
} as const;

export const RECOVERY_METRICS = {
  spills: counter(
    'plumbline_spills_total',
    'Walks that stopped in the kernel where the agent could go on, or that are verified, by whether registers and stack came over',
    {
      result: 'sent, rate_limited, ring_full (samples come first), or unreadable where no stack could be read',
    },
  ),
  recoveries: counter('plumbline_recoveries_total', 'Spilled walks that the agent went on with', {
    result: 'recovered, or why the root was not reached',
  }),
  recoveryPendingBytes: gauge('plumbline_recovery_pending_bytes', 'Raw stack memory that waits to be walked'),
  verifications: counter(
    'plumbline_verifications_total',
    'Complete walks that the agent walked again with an unwinder of its own',
    {
      verdict:
        'equal; partial (equal as far as the copy of the stack reaches); undecided (equal as far as the agent could walk); mismatch',
    },
  ),
  verificationMismatches: counter(
    'plumbline_verification_mismatches_total',
    'Complete walks that the agent walked otherwise; always 0 unless there is a defect, and each is logged',
  ),
} as const;

export const LOSS_METRICS = {
  processEventsLost: counter(
    'plumbline_process_events_lost_total',
    'Process events (fork, exec, exit) that did not fit the ring buffer',
  ),
  sideBandLost: counter(
    'plumbline_side_band_events_lost_total',
    'Mapping and exec events that the kernel’s perf buffers had no room for',
  ),
  malformedRecords: counter(
    'plumbline_malformed_records_total',
    'Records of a form that is not known; always 0 unless there is a defect',
  ),
} as const;

export const TABLE_METRICS = {
  processes: gauge('plumbline_processes', 'Processes whose mappings the kernel side knows'),
  tableEntries: gauge('plumbline_table_entries', 'Entries in use of a table in the kernel', {
    table: 'Name of the BPF map',
  }),
  tableCapacity: gauge('plumbline_table_capacity', 'Entries that a table in the kernel can hold', {
    table: 'Name of the BPF map',
  }),
  executables: gauge(
    'plumbline_executables',
    'Distinct executable files that are mapped, by the state of their unwind table',
    {
      state: 'pending, ready, anonymous (not an ELF file) or failed',
    },
  ),
  unwindTableBytes: gauge('plumbline_unwind_table_bytes', 'Kernel memory that unwind tables take'),
  unwindTableAge: gauge(
    'plumbline_unwind_table_age_seconds',
    'Age of the oldest: how long a file has waited for its table, or how long ago the table came into the kernel',
    { state: 'pending or ready' },
  ),
  processReady: histogram(
    'plumbline_process_ready_seconds',
    'Time from fork or exec of a process until the kernel could walk it with the tables of all that it had mapped',
    SECONDS,
  ),
  unwindTableBuild: histogram(
    'plumbline_unwind_table_build_seconds',
    'Time to build the unwind table of one file',
    SECONDS,
  ),
  symbolization: histogram(
    'plumbline_symbolization_seconds',
    'Time to symbolize the stacks of one report interval',
    SECONDS,
  ),
} as const;

export const COST_METRICS = {
  bpfRunTime: counter('plumbline_bpf_run_seconds_total', 'CPU time of the BPF programs, by the kernel’s own measure'),
  bpfRuns: counter('plumbline_bpf_runs_total', 'Runs of the BPF programs'),
  overhead: gauge(
    'plumbline_overhead_ratio',
    'CPU time of agent and BPF programs as a share of the node’s, over the last report interval',
  ),
  overheadBudget: gauge(
    'plumbline_overhead_budget_ratio',
    'Share of the node’s CPU time that the configuration allows',
  ),
  samplingFrequency: gauge('plumbline_sampling_frequency_hertz', 'Samples per second and CPU, after throttling'),
  throttled: gauge('plumbline_throttled', '1 while the sampling frequency is lowered to hold the budget'),
  budgetExhausted: gauge(
    'plumbline_budget_exhausted',
    '1 while profiling exceeds the budget although the frequency is as low as it gets: a quarter of what is asked for',
  ),
} as const;

export const EXPORT_METRICS = {
  exportRequests: counter('plumbline_export_requests_total', 'Requests to receivers', {
    ...EXPORTER,
    result: 'success, retryable (is tried again), or dropped',
  }),
  exportedSamples: counter('plumbline_export_samples_total', 'Samples that left the agent or were given up', {
    ...EXPORTER,
    result: 'sent, or why they were given up',
  }),
  rejectedProfiles: counter(
    'plumbline_export_rejected_profiles_total',
    'Profiles that a receiver rejected in requests that it took otherwise',
    EXPORTER,
  ),
  exportBytes: counter(
    'plumbline_export_bytes_total',
    'Bytes of requests that receivers took, before compression',
    EXPORTER,
  ),
  exportQueueRequests: gauge('plumbline_export_queue_requests', 'Requests that wait for a receiver', EXPORTER),
  exportQueueBytes: gauge('plumbline_export_queue_bytes', 'Bytes of requests that wait', {
    ...EXPORTER,
    place: 'memory or disk',
  }),
  exportLastSuccess: gauge(
    'plumbline_export_last_success_timestamp_seconds',
    'When a receiver last took a profile, seconds since 1970; 0: never',
    EXPORTER,
  ),
  exportUp: gauge('plumbline_export_up', '1 unless the last try to reach the receiver failed', EXPORTER),
} as const;

export const AGENT_METRICS = {
  buildInfo: gauge('plumbline_build_info', 'Always 1; versions', {
    version: 'Of the agent',
    node: 'Of Node.js',
    kernel: 'As uname -r',
  }),
  ready: gauge('plumbline_ready', '1 while the agent profiles as configured; /readyz says why not'),
  configValid: gauge('plumbline_config_valid', '1 while the newest configuration is in force'),
  configApplied: gauge(
    'plumbline_config_last_applied_timestamp_seconds',
    'When the configuration in force was applied, seconds since 1970',
  ),
} as const;

export const SECTIONS: readonly MetricSection[] = [
  { title: 'Samples and their outcomes', metrics: SAMPLE_METRICS },
  { title: 'What is usual', metrics: BASELINE_METRICS },
  { title: 'Stack walks', metrics: WALK_METRICS },
  { title: 'Recovery and verification', metrics: RECOVERY_METRICS },
  { title: 'Losses between the kernel and the agent', metrics: LOSS_METRICS },
  { title: 'Processes, tables and symbols', metrics: TABLE_METRICS },
  { title: 'What profiling costs', metrics: COST_METRICS },
  { title: 'Exports', metrics: EXPORT_METRICS },
  { title: 'The agent', metrics: AGENT_METRICS },
];

export const METRICS = {
  ...SAMPLE_METRICS,
  ...BASELINE_METRICS,
  ...WALK_METRICS,
  ...RECOVERY_METRICS,
  ...LOSS_METRICS,
  ...TABLE_METRICS,
  ...COST_METRICS,
  ...EXPORT_METRICS,
  ...AGENT_METRICS,
} as const;

export type MetricKey = keyof typeof METRICS;
export type KeysOfType<T extends MetricType> = {
  [K in MetricKey]: (typeof METRICS)[K]['type'] extends T ? K : never;
}[MetricKey];
/** A value for each label of a metric, no more and no less. */
export type LabelsOf<K extends MetricKey> = { readonly [L in keyof (typeof METRICS)[K]['labels']]: string };
