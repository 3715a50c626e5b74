// SPDX-License-Identifier: Apache-2.0
/** One workload: against its objective and its own past, why it is cut, and where it runs. */
import { recorded } from '../recording-rules.ts';
import type { RuleParameters } from '../rule-parameters.ts';
import { choice, dashboard, lines, stat, table } from './panels.ts';
import { rate, ratio } from './queries.ts';

const METRIC = 'plumbline_workload_samples_total';
const HERE = 'namespace=~"$namespace", workload=~"$workload"';

export function workload(parameters: RuleParameters) {
  const names = recorded(parameters);
  return dashboard(
    'plumbline-workload',
    'Plumbline / Workload',
    'One workload: how complete its stacks are, and why not.',
  )
    .withVariable(choice('namespace', 'Namespace', `label_values(${METRIC}, namespace)`, true))
    .withVariable(choice('workload', 'Workload', `label_values(${METRIC}{namespace=~"$namespace"}, workload)`, false))
    .withPanel(
      stat(
        { title: 'Cut stacks', description: 'Truncated share of the user stacks.', width: 6, height: 5 },
        ratio(METRIC, '', HERE),
        'percentunit',
        'ratio',
      ),
    )
    .withPanel(
      stat(
        { title: 'Usual', description: 'What is usual for this workload.', width: 6, height: 5 },
        `max(${names.workloadBaseline}{${HERE}})`,
        'percentunit',
        'plain',
      ),
    )
    .withPanel(
      stat(
        { title: 'Promised', description: 'Objective of the policy that selects it.', width: 6, height: 5 },
        `max(${names.objective} and on (policy) sum by (policy) (${METRIC}{${HERE}}))`,
        'percentunit',
        'plain',
      ),
    )
    .withPanel(
      stat(
        { title: 'Top reason', description: 'docs/runbooks/reasons.md says what to do.', width: 6, height: 5 },
        `topk(1, ${rate(METRIC, 'reason', 'outcome="truncated"', HERE)}) / on () group_left () ${rate(METRIC, '', 'outcome="truncated"', HERE)}`,
        'percentunit',
        'plain',
        '{{reason}}',
      ),
    )
    .withPanel(
      lines(
        { title: 'Cut stacks, promised and usual', description: 'A step tells of a deployment.', width: 12, height: 9 },
        {
          [ratio(METRIC, 'namespace, workload', HERE)]: '{{namespace}} {{workload}}',
          [`${names.workloadBaseline}{${HERE}}`]: 'usual',
          [`${names.objective} and on (policy) sum by (policy) (${METRIC}{${HERE}})`]: 'objective of {{policy}}',
        },
        'percentunit',
      ),
    )
    .withPanel(
      lines(
        { title: 'Why stacks are cut', description: 'Cut stacks a second by reason.', width: 12, height: 9 },
        { [rate(METRIC, 'reason', 'outcome="truncated"', HERE)]: '{{reason}}' },
        'short',
        'value',
      ),
    )
    .withPanel(
      lines(
        {
          title: 'Samples by outcome',
          description: 'Samples a second: the processors that it keeps busy, times the frequency.',
          width: 12,
          height: 9,
        },
        { [rate(METRIC, 'outcome', HERE)]: '{{outcome}}' },
        'short',
        'value',
      ),
    )
    .withPanel(
      table(
        {
          title: 'By container and node',
          description: 'One node that stands out has an older kernel or strategy.',
          width: 12,
          height: 9,
        },
        {
          [ratio(METRIC, 'container, node, instance', HERE)]: { title: 'Cut', unit: 'percentunit', colored: true },
          [rate(METRIC, 'container, node, instance', HERE)]: { title: 'Samples/s', unit: 'short' },
        },
        { container: 'Container', node: 'Node', instance: 'Agent' },
        'Cut',
      ),
    )
    .build();
}
