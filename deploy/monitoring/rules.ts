// SPDX-License-Identifier: Apache-2.0
/** The rules as Prometheus reads them: the value of a rule file and of a PrometheusRule's `spec`. */
import { type Alert, alerts } from './alerts.ts';
import { type RecordingRule, recordingRules } from './recording-rules.ts';
import { RULE_PARAMETERS, type RuleParameters } from './rule-parameters.ts';

export const RUNBOOKS = 'https://github.com/plumbline-dev/plumbline/blob/main/docs/runbooks';

export interface AlertRule {
  readonly alert: string;
  readonly expr: string;
  readonly for: string;
  readonly labels: { readonly severity: string };
  readonly annotations: Readonly<Record<'summary' | 'description' | 'runbook_url', string>> & { reason_url?: string };
}

export interface RuleFile {
  readonly groups: readonly {
    readonly name: string;
    readonly interval: string;
    readonly rules: readonly (AlertRule | RecordingRule)[];
  }[];
}

export function ruleFile(parameters: RuleParameters = RULE_PARAMETERS): RuleFile {
  const { interval } = parameters;
  return {
    groups: [
      { name: 'plumbline-recording', interval, rules: recordingRules(parameters) },
      { name: 'plumbline-alerts', interval, rules: alerts(parameters).map(alertRule) },
    ],
  };
}

/** File in docs/runbooks. */
export function runbookOf(alert: string): string {
  return `${alert}.md`;
}

function alertRule({ name, severity, expr, hold, summary, description }: Alert): AlertRule {
  return {
    alert: name,
    expr,
    for: hold,
    labels: { severity },
    annotations: {
      summary,
      description,
      runbook_url: `${RUNBOOKS}/${runbookOf(name)}`,
      ...(summary.includes('$labels.reason') && { reason_url: `${RUNBOOKS}/reasons.md#{{ $labels.reason }}` }),
    },
  };
}
