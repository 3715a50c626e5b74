// SPDX-License-Identifier: Apache-2.0
/** What each alert must and must not fire on. Values are given every 30 s, so 2 are a minute and 120 an hour. */
import type { AlertCase } from './promtool.ts';

const POLICY = 'plumbline_policy_samples_total';
const WORKLOAD = 'plumbline_workload_samples_total';
const OBJECTIVE = { 'plumbline_policy_objective_ratio{instance="a", policy="p"}': '0.01x4000' };

/** Counters of one agent for one policy (or workload): samples per 30 s by outcome. */
function samples(metric: string, labels: string, complete: string, truncated?: string, reason = 'frame_limit') {
  return {
    [`${metric}{instance="a", ${labels}, outcome="complete", reason="root_entry"}`]: complete,
    ...(truncated !== undefined && {
      [`${metric}{instance="a", ${labels}, outcome="truncated", reason="${reason}"}`]: truncated,
    }),
  };
}
const policy = (complete: string, truncated?: string) => samples(POLICY, 'policy="p"', complete, truncated);
const SHOP = 'container="api", namespace="shop", policy="p", workload="checkout"';
const shop = (complete: string, truncated?: string) => samples(WORKLOAD, SHOP, complete, truncated);
const CHECKOUT = '{namespace="shop", policy="p", workload="checkout"}';
const AGENT = 'instance="a", job="plumbline-agent", node="n"';
const agent = (metric: string, values: string, labels = '') => ({
  [`${metric}{${AGENT}${labels && `, ${labels}`}}`]: values,
});
/** The same alert for a gauge that must stay at a value for ten minutes. */
const gauge = (metric: string, bad: string, good: string, labels = ''): AlertCase[] => [
  {
    title: 'fires after ten minutes, and resolves',
    series: agent(metric, `${bad}x40 ${good}x40`, labels),
    firing: { '5m': [], '11m': [`{${AGENT}${labels && `, ${labels}`}}`], '25m': [] },
  },
  { title: 'is silent while all is well', series: agent(metric, `${good}x80`, labels), firing: { '30m': [] } },
  { title: 'is silent without the series', series: { 'other{}': '0x80' }, firing: { '30m': [] } },
];

/** A ratio alert of policies or workloads: the same conditions, by other labels. */
function ratioCases(of: (complete: string, truncated?: string) => Record<string, string>, labels: string): AlertCase[] {
  return [
    {
      title: 'fires when both windows are above the objective',
      series: { ...OBJECTIVE, ...of('0+300x240', '0+30x240') },
      firing: { '3m': [], '10m': [labels], '2h': [labels] },
    },
    {
      title: 'is silent within the objective',
      series: { ...OBJECTIVE, ...of('0+300x240', '0+2x240') },
      firing: { '30m': [], '2h': [] },
    },
    {
      title: 'is silent for a moment that a good hour outweighs',
      series: { ...OBJECTIVE, ...of('0+1000x240', '0x120 0+20x20 400x100') },
      firing: { '65m': [], '70m': [], '80m': [] },
    },
    {
      title: 'resolves minutes after the cure, although the long window is still above',
      series: { ...OBJECTIVE, ...of('0+300x240', '0+30x60 1800x180') },
      firing: { '30m': [labels], '40m': [], '50m': [] },
    },
    {
      title: 'is silent for the idle, whatever their ratio',
      series: { ...OBJECTIVE, ...of('0x240', '0+1x240') },
      firing: { '30m': [], '1h': [], '2h': [] },
    },
    {
      title: 'is silent for one that nearly sleeps after a busy hour of good stacks',
      series: { ...OBJECTIVE, ...of('0+300x120 36000x120', '0x120 0+1x4 4x100') },
      firing: { '62m': [], '70m': [], '90m': [] },
    },
    {
      title: 'goes on across restarts of the agent, and none is taken for a rise',
      series: { ...OBJECTIVE, ...of('0+300x40 0+300x40 0+300x40', '0+30x40 0+30x40 0+30x40') },
      firing: { '10m': [labels], '21m': [labels], '45m': [labels] },
    },
    {
      title: 'is silent when a restart resets counters of good stacks',
      series: { ...OBJECTIVE, ...of('0+300x40 0+300x80', '0+1x40 0+1x80') },
      firing: { '20m': [], '21m': [], '25m': [], '50m': [] },
    },
    {
      title: 'is silent where nothing was ever cut, so that there is no such series',
      series: { ...OBJECTIVE, ...of('0+300x240') },
      firing: { '30m': [], '2h': [] },
    },
    { title: 'is silent without an objective', series: of('0+300x240', '0+30x240'), firing: { '1h': [] } },
    {
      title: 'is silent when the agent is gone',
      series: { ...OBJECTIVE, ...of('0+300x30', '0+30x30') },
      firing: { '30m': [] },
    },
  ];
}

/** Two days: 2,880 values a day. */
const DAY = 2880;

export const CASES: Readonly<Record<string, readonly AlertCase[]>> = {
  PlumblineObjectiveMissed: [
    ...ratioCases(policy, '{policy="p"}'),
    {
      title: 'takes all nodes together, and the laxest objective that is in force while a change is rolled out',
      series: {
        ...policy('0+300x240', '0+30x240'),
        [`${POLICY}{instance="b", policy="p", outcome="complete", reason="root_entry"}`]: '0+9000x240',
        ...OBJECTIVE,
        'plumbline_policy_objective_ratio{instance="b", policy="p"}': '0.05x240',
      },
      firing: { '30m': [] },
    },
  ],
  PlumblineWorkloadTruncated: [
    ...ratioCases(shop, CHECKOUT),
    {
      title: 'names the one of two workloads, and a program of the host without a namespace',
      series: {
        ...OBJECTIVE,
        ...shop('0+300x240'),
        ...samples(WORKLOAD, 'policy="p", workload="blackbox"', '0+300x240', '0+30x240'),
      },
      firing: { '30m': ['{policy="p", workload="blackbox"}'] },
    },
  ],
  PlumblineWorkloadRegressed: [
    {
      title: 'fires on a rise against the history in Prometheus',
      series: shop(`0+300x${DAY + 240}`, `0+1x${DAY} ${DAY}+60x240`),
      firing: { '24h': [], '24h1m30s': [], '24h20m': [CHECKOUT] },
    },
    {
      title: 'is silent while a bad workload stays as bad as it was',
      series: shop(`0+300x${DAY + 240}`, `0+60x${DAY + 240}`),
      firing: { '12h': [], '25h': [] },
    },
    {
      title: 'prefers the baseline of the agents, which is there from the beginning',
      series: {
        ...shop('0+300x240', '0+60x240'),
        'plumbline_workload_baseline_truncated_ratio{instance="a", namespace="shop", policy="p", workload="checkout"}':
          '0.01x240',
      },
      firing: { '15m': [CHECKOUT] },
    },
    { title: 'is silent for a workload without a past', series: shop('0+300x240', '0+60x240'), firing: { '50m': [] } },
    {
      title: 'is silent for one that has gone to sleep, but for a few stacks that are cut',
      series: shop(`0+300x${DAY / 2} ${150 * DAY}x${DAY / 2 + 240}`, `0x${DAY} 0+1x240`),
      firing: { '24h10m': [], '25h': [] },
    },
    {
      title: 'does not take a restart of the agent for a rise',
      series: shop(`0+300x${DAY} 0+300x240`, `0+2x${DAY} 0+2x240`),
      firing: { '24h5m': [], '24h30m': [] },
    },
  ],
  PlumblineNewTopReason: [
    {
      title: 'fires when another reason comes first',
      series: {
        ...policy(`0+300x${DAY}`, `0+2x${DAY}`),
        [`${POLICY}{instance="a", policy="p", outcome="truncated", reason="no_unwind_info"}`]: `_x2000 0+9x${DAY - 2000}`,
      },
      // It overtakes the other within the window at about 16h47m.
      firing: { '16h': [], '16h49m': [], '17h15m': ['{policy="p", reason="no_unwind_info"}'] },
    },
    {
      title: 'is silent while the order stays',
      series: {
        ...policy(`0+300x${DAY}`, `0+9x${DAY}`),
        [`${POLICY}{instance="a", policy="p", outcome="truncated", reason="no_unwind_info"}`]: `_x2000 0+2x${DAY - 2000}`,
      },
      firing: { '17h15m': [], '20h': [] },
    },
    {
      title: 'is silent for a handful of cut stacks',
      series: policy(`0+300x${DAY}`, `_x2000 0+0.02x${DAY - 2000}`),
      firing: { '17h5m': [] },
    },
    { title: 'is silent for a policy without a past', series: policy('0+300x120', '0+9x120'), firing: { '25m': [] } },
  ],
  PlumblineStackMismatch: [
    {
      title: 'fires at once, for as long as the long window remembers',
      series: { 'plumbline_verification_mismatches_total{instance="a", node="n"}': '0x10 1x300' },
      firing: { '5m': [], '6m': ['{instance="a", node="n"}'], '50m': ['{instance="a", node="n"}'], '90m': [] },
    },
    {
      title: 'does not fire on a restart',
      series: { 'plumbline_verification_mismatches_total{instance="a", node="n"}': '0x40 0x40' },
      firing: { '20m30s': [], '30m': [] },
    },
  ],
  PlumblineSamplesLost: [
    {
      title: 'fires with the reason',
      series: {
        'plumbline_samples_total{instance="a", node="n", outcome="complete", reason="root_entry"}': '0+100x80',
        'plumbline_samples_total{instance="a", node="n", outcome="dropped", reason="ring_full"}': '0+5x80',
        'plumbline_samples_total{instance="a", node="n", outcome="filtered", reason="not_selected"}': '0+9000x80',
      },
      firing: { '5m': [], '15m': ['{instance="a", node="n", reason="ring_full"}'] },
    },
    {
      title: 'is silent for a quarter of an hour that a good hour outweighs',
      series: {
        'plumbline_samples_total{instance="a", node="n", outcome="complete", reason="root_entry"}': '0+1000x300',
        'plumbline_samples_total{instance="a", node="n", outcome="dropped", reason="ring_full"}':
          '0x200 0+15x30 450x70',
      },
      firing: { '112m': [], '114m': [] },
    },
    {
      title: 'is silent for a few in thousands, without drops, and on an idle node',
      series: {
        'plumbline_samples_total{instance="a", node="n", outcome="complete", reason="root_entry"}': '0+1000x80',
        'plumbline_samples_total{instance="a", node="n", outcome="dropped", reason="ring_full"}': '0+1x80',
        'plumbline_samples_total{instance="b", node="m", outcome="complete", reason="root_entry"}': '0+1000x80',
        'plumbline_samples_total{instance="c", node="o", outcome="dropped", reason="ring_full"}': '7x80',
        'plumbline_samples_total{instance="c", node="o", outcome="complete", reason="root_entry"}': '9x80',
      },
      firing: { '15m': [], '35m': [] },
    },
  ],
  PlumblineEventsLost: [
    {
      title: 'fires on either kind',
      series: {
        'plumbline_process_events_lost_total{instance="a", node="n"}': '0x80',
        'plumbline_side_band_events_lost_total{instance="a", node="n"}': '0+90x80',
      },
      firing: { '16m': ['{instance="a", node="n"}'] },
    },
    {
      title: 'is silent for a burst that is over',
      series: {
        'plumbline_process_events_lost_total{instance="a", node="n"}': '0x10 5000x80',
        'plumbline_side_band_events_lost_total{instance="a", node="n"}': '0x80',
      },
      firing: { '8m': [], '16m': [] },
    },
  ],
  PlumblineUnwindTablesNearlyFull: [
    {
      title: 'fires for the table that is full, and for no other',
      series: {
        'plumbline_table_entries{instance="a", node="n", table="shards"}': '90x80',
        'plumbline_table_capacity{instance="a", node="n", table="shards"}': '100x80',
        'plumbline_table_entries{instance="a", node="n", table="mappings"}': '50x80',
        'plumbline_table_capacity{instance="a", node="n", table="mappings"}': '100x80',
        'plumbline_table_entries{instance="a", node="n", table="empty"}': '0x80',
        'plumbline_table_capacity{instance="a", node="n", table="empty"}': '0x80',
      },
      firing: { '5m': [], '15m': ['{instance="a", node="n", table="shards"}'] },
    },
  ],
  PlumblineWorkloadsNotShown: [
    {
      title: 'fires after an hour',
      series: agent('plumbline_workloads', '12x240', 'shown="other"'),
      firing: { '30m': [], '61m': [`{${AGENT}, shown="other"}`] },
    },
    {
      title: 'is silent where all are shown',
      series: agent('plumbline_workloads', '0x240', 'shown="other"'),
      firing: { '2h': [] },
    },
  ],
  PlumblineAgentDown: gauge('up', '0', '1'),
  PlumblineAgentsAbsent: [
    {
      title: 'fires when the last agent is gone, and resolves when one is back',
      series: { 'plumbline_build_info{instance="a"}': '1x20 _x60 1x40' },
      firing: { '5m': [], '20m': [], '30m': ['{}'], '45m': [] },
    },
    { title: 'fires where there never was one', series: { 'other{}': '0x60' }, firing: { '11m': ['{}'] } },
    {
      title: 'is silent while one of two is there',
      series: { 'plumbline_build_info{instance="a"}': '1x20', 'plumbline_build_info{instance="b"}': '1x120' },
      firing: { '30m': [], '50m': [] },
    },
  ],
  PlumblineNodesNotReporting: [
    {
      title: 'fires for the policy',
      series: {
        'plumbline_policy_nodes{instance="o", policy="p", state="notReporting"}': '2x80',
        'plumbline_policy_nodes{instance="o", policy="p", state="applied"}': '5x80',
        'plumbline_policy_nodes{instance="o", policy="q", state="notReporting"}': '0x80',
      },
      firing: { '5m': [], '11m': ['{policy="p"}'] },
    },
    { title: 'is silent without an operator', series: { 'other{}': '0x80' }, firing: { '30m': [] } },
  ],
  PlumblineAgentNotReady: gauge('plumbline_ready', '0', '1'),
  PlumblineAgentSilent: [
    {
      title: 'fires where policies select the node and nothing fires',
      series: { ...OBJECTIVE, 'plumbline_samples_fired_total{instance="a", node="n"}': '0+50x20 1000x80' },
      firing: { '10m': [], '18m': [], '30m': ['{instance="a", node="n"}'] },
    },
    {
      title: 'is silent on a node that no policy selects, and where samples fire, if few',
      series: {
        'plumbline_policy_objective_ratio{instance="b", policy="p"}': '0.01x100',
        'plumbline_samples_fired_total{instance="a", node="n"}': '1000x100',
        'plumbline_samples_fired_total{instance="b", node="m"}': '0+0.2x100',
      },
      firing: { '30m': [], '45m': [] },
    },
  ],
  PlumblineConfigurationRefused: gauge('plumbline_config_valid', '0', '1'),
  PlumblineOverheadBudgetExceeded: [
    {
      title: 'fires above the budget',
      series: {
        ...agent('plumbline_overhead_ratio', '0.03x80'),
        ...agent('plumbline_overhead_budget_ratio', '0.01x80'),
      },
      firing: { '5m': [], '15m': [`{${AGENT}}`] },
    },
    {
      title: 'is silent for a peak, and without a budget',
      series: {
        ...agent('plumbline_overhead_ratio', '0.002x20 0.03x2 0.002x60'),
        ...agent('plumbline_overhead_budget_ratio', '0.01x80'),
        'plumbline_overhead_ratio{instance="b"}': '0.5x80',
        'plumbline_overhead_budget_ratio{instance="b"}': '0x80',
      },
      firing: { '12m': [], '25m': [], '35m': [] },
    },
  ],
  PlumblineThrottled: [
    {
      title: 'fires after an hour',
      series: agent('plumbline_throttled', '1x240'),
      firing: { '30m': [], '61m': [`{${AGENT}}`] },
    },
    { title: 'is silent otherwise', series: agent('plumbline_throttled', '0x240'), firing: { '2h': [] } },
  ],
  PlumblineExportFailing: gauge('plumbline_export_up', '0', '1', 'exporter="otlp"'),
  PlumblineExportDropping: [
    {
      title: 'fires with the exporter and the cause',
      series: {
        'plumbline_export_samples_total{exporter="otlp", instance="a", node="n", result="sent"}': '0+100x80',
        'plumbline_export_samples_total{exporter="otlp", instance="a", node="n", result="queue_full"}': '0x20 0+10x60',
      },
      firing: { '10m': [], '12m': ['{exporter="otlp", instance="a", node="n", result="queue_full"}'] },
    },
    {
      title: 'does not take a restart for a loss',
      series: {
        'plumbline_export_samples_total{exporter="otlp", instance="a", node="n", result="queue_full"}': '50x20 0x60',
      },
      firing: { '12m': [], '20m': [] },
    },
  ],
};
