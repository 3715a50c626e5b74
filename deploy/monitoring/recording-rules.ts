// SPDX-License-Identifier: Apache-2.0
/** What alerts and dashboards ask for again and again, and the history that workloads are compared with. */
import { type RuleParameters, secondsOf } from './rule-parameters.ts';

export interface RecordingRule {
  readonly record: string;
  readonly expr: string;
}

/** Samples with a user stack: those that a ratio is of. */
export const USER_STACKS = 'outcome=~"complete|recovered|truncated"';
export const WORKLOAD = 'policy, namespace, workload';

/** Names of the recorded series; the windows are part of them. */
export function recorded({ short, long, history, reasons }: RuleParameters) {
  return {
    workloadRate: `plumbline_workload:stacks:rate${short}`,
    workloadTruncatedRate: `plumbline_workload:stacks_truncated:rate${short}`,
    workloadRatio: `plumbline_workload:truncated_ratio:rate${short}`,
    workloadLongRatio: `plumbline_workload:truncated_ratio:rate${long}`,
    workloadLongCount: `plumbline_workload:stacks:increase${long}`,
    workloadBaseline: `plumbline_workload:truncated_ratio:baseline`,
    policyRatio: `plumbline_policy:truncated_ratio:rate${short}`,
    policyLongRatio: `plumbline_policy:truncated_ratio:rate${long}`,
    policyLongCount: `plumbline_policy:stacks:increase${long}`,
    objective: 'plumbline_policy:objective:max',
    reasonShare: `plumbline_policy_reason:truncated_share:increase${reasons}`,
    reasonUsualShare: `plumbline_policy_reason:truncated_share:increase${history}`,
  };
}

/**
 * Counters of truncated samples begin with the first one, so where there is none the ratio is zero and not absent. Where
 * there were no samples at all there is no ratio.
 */
export function recordingRules(parameters: RuleParameters): RecordingRule[] {
  const { interval, short, long, history, historyOffset, reasons } = parameters;
  const names = recorded(parameters);
  const stacks = (by: string, metric: string, operation: string, matcher = USER_STACKS) =>
    `sum by (${by}) (${operation.replace('SERIES', `${metric}{${matcher}}`)})`;
  const ratio = (by: string, metric: string, operation: string) => {
    const all = stacks(by, metric, operation);
    return `(${stacks(by, metric, operation, 'outcome="truncated"')} or 0 * ${all}) / (${all} > 0)`;
  };
  const workloads = 'plumbline_workload_samples_total';
  const policies = 'plumbline_policy_samples_total';
  const byReason = (window: string) =>
    `sum by (policy, reason) (increase(${policies}{outcome="truncated"}[${window}${window === history ? `] offset ${reasons}` : ']'}))`;
  const share = (window: string) => {
    const all = byReason(window).replace('policy, reason', 'policy');
    return `${byReason(window)} / on (policy) group_left () (${all} > 0)`;
  };
  const past = (name: string) => `sum_over_time(${name}[${history}] offset ${historyOffset})`;
  const enough = parameters.enoughHistory / secondsOf(interval);
  return [
    { record: names.workloadRate, expr: stacks(WORKLOAD, workloads, `rate(SERIES[${short}])`) },
    {
      record: names.workloadTruncatedRate,
      expr: `${stacks(WORKLOAD, workloads, `rate(SERIES[${short}])`, 'outcome="truncated"')} or 0 * ${names.workloadRate}`,
    },
    { record: names.workloadRatio, expr: `${names.workloadTruncatedRate} / (${names.workloadRate} > 0)` },
    { record: names.workloadLongRatio, expr: ratio(WORKLOAD, workloads, `increase(SERIES[${long}])`) },
    { record: names.workloadLongCount, expr: stacks(WORKLOAD, workloads, `increase(SERIES[${long}])`) },
    {
      // The agents' own, which outlives a Prometheus, else what Prometheus remembers.
      record: names.workloadBaseline,
      expr:
        `avg by (${WORKLOAD}) (plumbline_workload_baseline_truncated_ratio) or ` +
        `${past(names.workloadTruncatedRate)} / (${past(names.workloadRate)} >= ${Number(enough.toFixed(3))})`,
    },
    { record: names.policyRatio, expr: ratio('policy', policies, `rate(SERIES[${short}])`) },
    { record: names.policyLongRatio, expr: ratio('policy', policies, `increase(SERIES[${long}])`) },
    { record: names.policyLongCount, expr: stacks('policy', policies, `increase(SERIES[${long}])`) },
    { record: names.objective, expr: 'max by (policy) (plumbline_policy_objective_ratio)' },
    { record: names.reasonShare, expr: share(reasons) },
    { record: names.reasonUsualShare, expr: share(history) },
  ];
}
