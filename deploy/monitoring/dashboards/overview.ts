// SPDX-License-Identifier: Apache-2.0
/** The cluster at a glance: is there a problem, which workload has it, and why. */
import { recorded } from '../recording-rules.ts';
import type { RuleParameters } from '../rule-parameters.ts';
import { dashboard, lines, link, row, stat, table } from './panels.ts';
import { lost, orZero, rate, ratio } from './queries.ts';

const WORKLOAD = 'plumbline_workload_samples_total';
const POLICY = 'plumbline_policy_samples_total';

export function overview(parameters: RuleParameters) {
  const names = recorded(parameters);
  const by = 'namespace, workload';
  return dashboard(
    'plumbline-overview',
    'Plumbline / Overview',
    'How complete the stacks of the cluster are: which workloads are cut, why, and what profiling costs.',
  )
    .withPanel(
      stat(
        {
          title: 'Worst workload',
          description: 'The one with the most cut stacks. Its dashboard says why.',
          width: 8,
          height: 5,
        },
        `(${ratio(WORKLOAD, by)} and on (${by}) topk(1, ${rate(WORKLOAD, by, 'outcome="truncated"')})) or topk(1, ${ratio(WORKLOAD, by)})`,
        'percentunit',
        'ratio',
        '{{namespace}} {{workload}}',
      ),
    )
    .withPanel(
      stat(
        { title: 'Cut stacks', description: 'Truncated share of all user stacks of the cluster.', width: 4, height: 5 },
        ratio(POLICY, ''),
        'percentunit',
        'ratio',
      ),
    )
    .withPanel(
      stat(
        {
          title: 'Policies above their objective',
          description: 'Over the short window of the alerts.',
          width: 4,
          height: 5,
        },
        orZero(`count(${names.policyRatio} > on (policy) ${names.objective})`),
        'none',
        'count',
      ),
    )
    .withPanel(
      stat(
        { title: 'Samples lost', description: 'Share of the samples that left no stack.', width: 4, height: 5 },
        lost(),
        'percentunit',
        'ratio',
      ),
    )
    .withPanel(
      stat(
        { title: 'Nodes profiled', description: 'Agents that profile as configured.', width: 4, height: 5 },
        'sum(plumbline_ready)',
        'none',
        'plain',
      ),
    )
    .withPanel(
      table(
        {
          title: 'Workloads, most cut stacks first',
          description: 'Cut and usual: shares of the user stacks. Weight: cut stacks a second, which the order is by.',
          width: 14,
          height: 11,
        },
        {
          [`topk(20, ${rate(WORKLOAD, 'namespace, workload, policy', 'outcome="truncated"')})`]: {
            title: 'Weight',
            unit: 'short',
          },
          [ratio(WORKLOAD, 'namespace, workload, policy')]: { title: 'Cut', unit: 'percentunit', colored: true },
          [names.workloadBaseline]: { title: 'Usual', unit: 'percentunit' },
          [`topk by (namespace, workload, policy) (1, ${rate(WORKLOAD, 'namespace, workload, policy, reason', 'outcome="truncated"')} > 0)`]:
            '',
        },
        { namespace: 'Namespace', workload: 'Workload', policy: 'Policy', reason: 'Top reason' },
        'Weight',
      ).overrideByName('Workload', [link('plumbline-workload', { namespace: 'Namespace', workload: 'Workload' })]),
    )
    .withPanel(
      table(
        {
          title: 'Firing alerts',
          description: 'Those of Plumbline; their runbooks are linked from the alerts.',
          width: 10,
          height: 11,
        },
        {
          'ALERTS{alertname=~"Plumbline.*", alertstate="firing"} or 0 * label_replace(sum(plumbline_ready), "alertname", "none is firing but this line", "", "")':
            '',
        },
        {
          severity: 'Severity',
          alertname: 'Alert',
          namespace: 'Namespace',
          workload: 'Workload',
          policy: 'Policy',
          node: 'Node',
        },
      ),
    )
    .withRow(row('Over time'))
    .withPanel(
      lines(
        {
          title: 'Cut stacks by policy, and what it promises',
          description: 'Above the dashed line the promise is broken.',
          width: 12,
          height: 9,
        },
        { [ratio(POLICY, 'policy')]: '{{policy}}', [names.objective]: 'objective of {{policy}}' },
        'percentunit',
      ),
    )
    .withPanel(
      lines(
        {
          title: 'Why stacks are cut',
          description: 'Cut stacks a second by reason; docs/runbooks/reasons.md says what to do.',
          width: 12,
          height: 9,
        },
        { [rate(POLICY, 'reason', 'outcome="truncated"')]: '{{reason}}' },
        'short',
        'value',
      ),
    )
    .withPanel(
      lines(
        {
          title: 'What became of samples',
          description: 'Every sample that fired has exactly one outcome.',
          width: 8,
          height: 9,
        },
        { [rate('plumbline_samples_total', 'outcome', 'outcome!="filtered"')]: '{{outcome}}' },
        'short',
        'share',
      ),
    )
    .withPanel(
      lines(
        { title: 'Cut stacks by runtime', description: 'By the language runtime of the process.', width: 8, height: 9 },
        { [ratio('plumbline_runtime_samples_total', 'runtime')]: '{{runtime}}' },
        'percentunit',
      ),
    )
    .withPanel(
      lines(
        {
          title: 'What profiling costs',
          description: 'CPU time of agents and their programs as a share of their nodes’.',
          width: 8,
          height: 9,
        },
        {
          'avg(plumbline_overhead_ratio)': 'mean of all nodes',
          'max(plumbline_overhead_ratio)': 'most expensive node',
          'min(plumbline_overhead_budget_ratio > 0)': 'smallest budget',
        },
        'percentunit',
      ),
    )
    .withRow(row('Nodes and receivers'))
    .withPanel(
      table(
        {
          title: 'Nodes by strategy and kernel',
          description: 'A newer kernel lifts what tailCall cuts: docs/kernel-support.md.',
          width: 8,
          height: 8,
        },
        {
          'count by (strategy, kernel) (plumbline_strategy_info * on (instance) group_left (kernel) plumbline_build_info)':
            { title: 'Nodes', unit: 'none' },
        },
        { strategy: 'Strategy', kernel: 'Kernel' },
      ),
    )
    .withPanel(
      table(
        {
          title: 'Nodes, most cut stacks first',
          description: 'The dashboard of the node says more.',
          width: 8,
          height: 8,
        },
        {
          [`topk(20, ${ratio(POLICY, 'node, instance')})`]: { title: 'Cut', unit: 'percentunit', colored: true },
          'max by (node, instance) (plumbline_overhead_ratio)': { title: 'Overhead', unit: 'percentunit' },
        },
        { node: 'Node', instance: 'Agent' },
        'Cut',
      ).overrideByName('Agent', [link('plumbline-node', { instance: 'Agent' })]),
    )
    .withPanel(
      lines(
        {
          title: 'Deliveries',
          description: 'Samples a second that left the agents, or were given up, and why.',
          width: 8,
          height: 8,
        },
        { [rate('plumbline_export_samples_total', 'exporter, result')]: '{{exporter}}: {{result}}' },
        'short',
      ),
    )
    .build();
}
