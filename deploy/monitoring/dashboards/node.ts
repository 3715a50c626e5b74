// SPDX-License-Identifier: Apache-2.0
/** One agent: how complete, what it loses, how full its tables are, what it costs, whether its profiles arrive. */
import { choice, dashboard, lines, row, stat, table } from './panels.ts';
import { lost, orZero, quantile, rate, ratio } from './queries.ts';

const HERE = 'instance=~"$instance"';
const POLICY = 'plumbline_policy_samples_total';
const WORKLOAD = 'plumbline_workload_samples_total';

export function node() {
  const quantiles = (metric: string, matchers: string) => ({
    [quantile(0.5, metric, matchers)]: 'half',
    [quantile(0.9, metric, matchers)]: '90 %',
    [quantile(0.99, metric, matchers)]: '99 %',
  });
  return dashboard('plumbline-node', 'Plumbline / Node', 'One node: its stacks, losses, tables, cost and deliveries.')
    .withVariable(choice('instance', 'Agent', 'label_values(plumbline_build_info, instance)', true))
    .withPanel(
      stat(
        { title: 'Cut stacks', description: 'Truncated share of the user stacks.', width: 6, height: 4 },
        ratio(POLICY, '', HERE),
        'percentunit',
        'ratio',
      ),
    )
    .withPanel(
      stat(
        { title: 'Samples lost', description: 'Share of the samples that left no stack.', width: 6, height: 4 },
        lost(HERE),
        'percentunit',
        'ratio',
      ),
    )
    .withPanel(
      stat(
        {
          title: 'Stacks that differ',
          description: 'Complete walks that a second unwinder walked otherwise: a defect.',
          width: 6,
          height: 4,
        },
        orZero(`sum(plumbline_verification_mismatches_total{${HERE}})`),
        'none',
        'count',
      ),
    )
    .withPanel(
      stat(
        {
          title: 'Overhead',
          description: 'CPU time of agent and programs as a share of the node’s.',
          width: 6,
          height: 4,
        },
        `max(plumbline_overhead_ratio{${HERE}})`,
        'percentunit',
        'ratio',
      ),
    )
    .withPanel(
      table(
        {
          title: 'Workloads of the node, most cut stacks first',
          description: 'Weight: cut stacks a second.',
          width: 12,
          height: 9,
        },
        {
          [`topk(20, ${rate(WORKLOAD, 'namespace, workload, container, reason', 'outcome="truncated"', HERE)})`]: {
            title: 'Weight',
            unit: 'short',
          },
          [ratio(WORKLOAD, 'namespace, workload, container', HERE)]: {
            title: 'Cut',
            unit: 'percentunit',
            colored: true,
          },
        },
        { namespace: 'Namespace', workload: 'Workload', container: 'Container', reason: 'Reason' },
        'Weight',
      ),
    )
    .withPanel(
      lines(
        {
          title: 'What became of samples',
          description: 'Samples a second by outcome and reason, without those that no policy selects.',
          width: 12,
          height: 9,
        },
        {
          [rate('plumbline_samples_total', 'outcome, reason', 'outcome!="filtered"', HERE)]: '{{outcome}}: {{reason}}',
        },
        'short',
        'value',
      ),
    )
    .withRow(row('Walks'))
    .withPanel(
      lines(
        { title: 'Depth of complete stacks', description: 'User frames.', width: 8, height: 8 },
        quantiles('plumbline_stack_depth_frames', `outcome="complete", ${HERE}`),
        'short',
      ),
    )
    .withPanel(
      lines(
        { title: 'Steps of walks', description: 'In the kernel; deep ones are what costs.', width: 8, height: 8 },
        quantiles('plumbline_walk_steps', HERE),
        'short',
      ),
    )
    .withPanel(
      lines(
        {
          title: 'Finished by the agent',
          description: 'Spilled walks a second, and what became of them.',
          width: 8,
          height: 8,
        },
        {
          [rate('plumbline_spills_total', 'result', HERE)]: 'spill: {{result}}',
          [orZero(rate('plumbline_recoveries_total', 'result', HERE))]: 'recovery: {{result}}',
        },
        'short',
      ),
    )
    .withRow(row('Processes and tables'))
    .withPanel(
      lines(
        { title: 'Until a new process can be walked', description: 'From fork or exec on.', width: 8, height: 8 },
        quantiles('plumbline_process_ready_seconds', HERE),
        's',
      ),
    )
    .withPanel(
      lines(
        { title: 'How full the tables are', description: 'Above 85 % there is an alert.', width: 8, height: 8 },
        { [`plumbline_table_entries{${HERE}} / (plumbline_table_capacity{${HERE}} > 0)`]: '{{table}}' },
        'percentunit',
      ),
    )
    .withPanel(
      lines(
        {
          title: 'Files and their unwind tables',
          description: 'Age: how long the longest waiting file has waited.',
          width: 8,
          height: 8,
        },
        {
          [`sum by (state) (plumbline_executables{${HERE}})`]: '{{state}}',
          [`max(plumbline_unwind_table_age_seconds{state="pending", ${HERE}})`]: 'longest wait, seconds',
        },
        'short',
      ),
    )
    .withRow(row('Losses and cost'))
    .withPanel(
      lines(
        { title: 'Lost', description: 'Events and records a second.', width: 8, height: 8 },
        {
          [orZero(rate('plumbline_samples_total', 'reason', 'outcome="dropped"', HERE))]: 'samples: {{reason}}',
          [rate('plumbline_process_events_lost_total', '', HERE)]: 'process events',
          [rate('plumbline_side_band_events_lost_total', '', HERE)]: 'mapping events',
        },
        'short',
      ),
    )
    .withPanel(
      lines(
        { title: 'CPU time', description: 'Processors.', width: 8, height: 8 },
        {
          [rate('plumbline_bpf_run_seconds_total', '', HERE)]: 'programs in the kernel',
          [rate('process_cpu_seconds_total', '', 'job="plumbline-agent"', HERE)]: 'agent',
        },
        'short',
      ),
    )
    .withPanel(
      lines(
        { title: 'Memory', description: 'Of the agent, and of the unwind tables in the kernel.', width: 8, height: 8 },
        {
          [`sum(process_resident_memory_bytes{job="plumbline-agent", ${HERE}})`]: 'agent',
          [`sum(plumbline_unwind_table_bytes{${HERE}})`]: 'unwind tables',
        },
        'bytes',
      ),
    )
    .withPanel(
      lines(
        { title: 'Sampling frequency', description: 'Lower than configured while throttled.', width: 8, height: 8 },
        {
          [`plumbline_sampling_frequency_hertz{${HERE}}`]: 'samples per second and processor',
          [`plumbline_throttled{${HERE}}`]: 'throttled',
        },
        'hertz',
      ),
    )
    .withPanel(
      lines(
        { title: 'Waiting for receivers', description: 'Bytes in memory and on disk.', width: 8, height: 8 },
        { [`sum by (exporter, place) (plumbline_export_queue_bytes{${HERE}})`]: '{{exporter}}, {{place}}' },
        'bytes',
      ),
    )
    .withPanel(
      table(
        { title: 'Receivers', description: 'Up: the last try succeeded.', width: 8, height: 8 },
        {
          [`min by (exporter) (plumbline_export_up{${HERE}})`]: { title: 'Up', unit: 'bool' },
          [rate('plumbline_export_bytes_total', 'exporter', HERE)]: { title: 'Bytes/s', unit: 'Bps' },
        },
        { exporter: 'Receiver' },
      ),
    )
    .build();
}
