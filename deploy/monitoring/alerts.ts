// SPDX-License-Identifier: Apache-2.0
/** Every alert, once. Each has a page in docs/runbooks, and tests in e2e/alerts. */
import { recorded, USER_STACKS, WORKLOAD } from './recording-rules.ts';
import type { RuleParameters } from './rule-parameters.ts';

/** `critical`: somebody should look now; `warning`: today; `info`: it may explain something else. */
export type Severity = 'critical' | 'warning' | 'info';

export interface Alert {
  readonly name: `Plumbline${string}`;
  readonly severity: Severity;
  readonly expr: string;
  readonly hold: string;
  /** One line; labels and the value as Prometheus templates. */
  readonly summary: string;
  readonly description: string;
}

const NODE = '{{ if $labels.node }}{{ $labels.node }}{{ else }}{{ $labels.instance }}{{ end }}';
const NAME = '{{ if $labels.namespace }}{{ $labels.namespace }}/{{ end }}{{ $labels.workload }}';
const PERCENT = '{{ $value | humanizePercentage }}';
const REASON = '{{ $labels.reason }}';

export function alerts(parameters: RuleParameters): Alert[] {
  return [...ofStacks(parameters), ...ofSamples(parameters), ...ofAgents(parameters), ...ofExports(parameters)];
}

function ofStacks(parameters: RuleParameters): Alert[] {
  const { short, long, history, reasons, holdStacks, enough, enoughHistory } = parameters;
  const names = recorded(parameters);
  const above = (ratio: string) => `${ratio} > on (policy) group_left () ${names.objective}`;
  return [
    {
      name: 'PlumblineObjectiveMissed',
      severity: 'critical',
      expr: `${above(names.policyRatio)}\nand on (policy) (${above(names.policyLongRatio)})\nand on (policy) (${names.policyLongCount} >= ${enough})`,
      hold: holdStacks,
      summary: `${PERCENT} of the stacks of policy {{ $labels.policy }} are cut, more than its objective allows.`,
      description: `More than the objective for ${short} and for ${long}. \`kubectl get profpol {{ $labels.policy }}\` names the worst workload and the top reason.`,
    },
    {
      name: 'PlumblineWorkloadTruncated',
      severity: 'warning',
      expr: `${above(names.workloadRatio)}\nand on (${WORKLOAD}) (${above(names.workloadLongRatio)})\nand on (${WORKLOAD}) (${names.workloadLongCount} >= ${enough})`,
      hold: holdStacks,
      summary: `${PERCENT} of the stacks of ${NAME} are cut, more than policy {{ $labels.policy }} allows.`,
      description: `More than the objective for ${short} and for ${long}: flame graphs of this workload hide callers.`,
    },
    {
      name: 'PlumblineWorkloadRegressed',
      severity: 'warning',
      expr: `${names.workloadRatio} > on (${WORKLOAD}) (3 * ${names.workloadBaseline} + 0.02)\nand on (${WORKLOAD}) (${names.workloadLongCount} >= ${enough})`,
      hold: holdStacks,
      summary: `${PERCENT} of the stacks of ${NAME} are cut, far more than usual for this workload.`,
      description: 'More than three times its baseline and two percent: look for what was deployed or changed.',
    },
    {
      name: 'PlumblineNewTopReason',
      severity: 'info',
      expr:
        `topk by (policy) (1, ${names.reasonShare}) > on (policy, reason) (2 * (${names.reasonUsualShare} or 0 * ${names.reasonShare}))\n` +
        `and on (policy) (sum by (policy) (increase(plumbline_policy_samples_total{outcome="truncated"}[${reasons}])) >= ${enough / 4})\n` +
        `and on (policy) (sum by (policy) (increase(plumbline_policy_samples_total{${USER_STACKS}}[${history}] offset ${reasons})) >= ${enoughHistory})`,
      hold: holdStacks,
      summary: `${REASON} has become the first reason for cut stacks of policy {{ $labels.policy }}: ${PERCENT} of them.`,
      description: `It was less than half as frequent among the reasons of the last ${history}.`,
    },
    {
      name: 'PlumblineStackMismatch',
      severity: 'warning',
      expr: `sum by (instance, node) (increase(plumbline_verification_mismatches_total[${long}])) > 0`,
      hold: '0s',
      summary: `{{ $value | humanize }} stacks that were taken for complete on ${NODE} were walked otherwise by a second unwinder.`,
      description:
        'A defect of Plumbline, or of the unwind information of a file; the log of the agent shows both walks.',
    },
  ];
}

function ofSamples({ short, long, holdAgent, holdNotice }: RuleParameters): Alert[] {
  const lost = (window: string) =>
    `sum by (instance, node, reason) (rate(plumbline_samples_total{outcome="dropped"}[${window}]))\n` +
    `/ on (instance, node) group_left () sum by (instance, node) (rate(plumbline_samples_total{outcome!="filtered"}[${window}]))`;
  return [
    {
      name: 'PlumblineSamplesLost',
      severity: 'warning',
      expr: `(${lost(short)}) > 0.01\nand on (instance, node, reason) (${lost(long)}) > 0.01`,
      hold: holdAgent,
      summary: `${PERCENT} of the samples of ${NODE} are lost: ${REASON}.`,
      description: 'Profiles show less than there is, and not evenly: what runs in bursts is lost first.',
    },
    {
      name: 'PlumblineEventsLost',
      severity: 'warning',
      expr: `sum by (instance, node) (rate(plumbline_process_events_lost_total[${short}]) + rate(plumbline_side_band_events_lost_total[${short}])) > 1`,
      hold: holdAgent,
      summary: `${NODE} loses {{ $value | humanize }} process and mapping events a second.`,
      description:
        'New processes and libraries are found late: stacks end with process_unknown or no_mapping until then.',
    },
    {
      name: 'PlumblineUnwindTablesNearlyFull',
      severity: 'warning',
      expr: 'plumbline_table_entries / (plumbline_table_capacity > 0) > 0.85',
      hold: holdAgent,
      summary: `The table {{ $labels.table }} of ${NODE} is ${PERCENT} full.`,
      description: 'When it is full, new files or processes are not walked: no_unwind_table or process_unknown.',
    },
    {
      name: 'PlumblineWorkloadsNotShown',
      severity: 'info',
      expr: 'plumbline_workloads{shown="other"} > 0',
      hold: holdNotice,
      summary: `{{ $value }} containers of ${NODE} have no series of their own.`,
      description: 'They are counted together as workload `other`; profiles are not concerned.',
    },
  ];
}

function ofAgents({ short, holdAgent, holdNotice }: RuleParameters): Alert[] {
  return [
    {
      name: 'PlumblineAgentDown',
      severity: 'warning',
      expr: 'up{job="plumbline-agent"} == 0',
      hold: holdAgent,
      summary: `The agent of ${NODE} does not answer.`,
      description: 'Prometheus cannot scrape it; most likely the node is not profiled.',
    },
    {
      name: 'PlumblineAgentsAbsent',
      severity: 'critical',
      expr: 'absent(plumbline_build_info)',
      hold: holdAgent,
      summary: 'No agent reports any metric.',
      description:
        'Nothing is profiled, or Prometheus finds no agent to scrape. The other alerts cannot fire meanwhile.',
    },
    {
      name: 'PlumblineNodesNotReporting',
      severity: 'warning',
      expr: 'max by (policy) (plumbline_policy_nodes{state="notReporting"}) > 0',
      hold: holdAgent,
      summary: '{{ $value }} nodes of policy {{ $labels.policy }} do not report to the operator.',
      description: 'Their agents have not written a status for a while; `kubectl get npc` shows which.',
    },
    {
      name: 'PlumblineAgentNotReady',
      severity: 'warning',
      expr: 'plumbline_ready == 0',
      hold: holdAgent,
      summary: `The agent of ${NODE} does not profile as configured.`,
      description: '`/readyz` of the agent says why, with what to do.',
    },
    {
      name: 'PlumblineAgentSilent',
      severity: 'warning',
      expr: `rate(plumbline_samples_fired_total[${short}]) == 0 and on (instance) count by (instance) (plumbline_policy_objective_ratio)`,
      hold: holdAgent,
      summary: `No sample fires on ${NODE}, although policies select it.`,
      description: 'The agent runs and answers, but the clock events of its processors are gone.',
    },
    {
      name: 'PlumblineConfigurationRefused',
      severity: 'warning',
      expr: 'plumbline_config_valid == 0',
      hold: holdAgent,
      summary: `The agent of ${NODE} refuses its newest configuration.`,
      description:
        'What was in force before stays in force; the log of the agent and the status of its object say what is wrong.',
    },
    {
      name: 'PlumblineOverheadBudgetExceeded',
      severity: 'warning',
      expr: `avg_over_time(plumbline_overhead_ratio[${short}]) > (plumbline_overhead_budget_ratio > 0)`,
      hold: holdAgent,
      summary: `Profiling takes ${PERCENT} of the CPU time of ${NODE}, more than its budget.`,
      description: 'With onExceeded: Throttle the agent has lowered its frequency already, and that was not enough.',
    },
    {
      name: 'PlumblineThrottled',
      severity: 'info',
      expr: 'plumbline_throttled == 1',
      hold: holdNotice,
      summary: `${NODE} is sampled less often than configured, to hold the overhead budget.`,
      description: 'Profiles stay true but are coarser.',
    },
  ];
}

function ofExports({ short, holdAgent }: RuleParameters): Alert[] {
  return [
    {
      name: 'PlumblineExportFailing',
      severity: 'warning',
      expr: 'plumbline_export_up == 0',
      hold: holdAgent,
      summary: `${NODE} cannot deliver profiles to {{ $labels.exporter }}.`,
      description: 'They wait in memory and on disk; when both are full, the oldest are dropped.',
    },
    {
      name: 'PlumblineExportDropping',
      severity: 'critical',
      expr: `sum by (instance, node, exporter, result) (rate(plumbline_export_samples_total{result!="sent"}[${short}])) > 0`,
      hold: '0s',
      summary: `${NODE} gives up profiles for {{ $labels.exporter }}: {{ $labels.result }}.`,
      description: 'These samples are lost for good.',
    },
  ];
}
