// SPDX-License-Identifier: Apache-2.0
import type { Dashboard } from '@grafana/grafana-foundation-sdk/dashboard';
import type { Dataquery as PrometheusQuery } from '@grafana/grafana-foundation-sdk/prometheus';
import { RULE_PARAMETERS, type RuleParameters } from '../rule-parameters.ts';
import { node } from './node.ts';
import { overview } from './overview.ts';
import { workload } from './workload.ts';

/** File name without extension → dashboard. The parameters are those of the rules: names of recorded series hold them. */
export function dashboards(parameters: RuleParameters = RULE_PARAMETERS): Record<string, Dashboard> {
  return { overview: overview(parameters), node: node(), workload: workload(parameters) };
}

/** Every expression of a dashboard with the panel that asks it. */
export function expressionsOf({ panels = [] }: Dashboard): { panel: string; expr: string }[] {
  return panels.flatMap((panel) =>
    'targets' in panel
      ? (panel.targets ?? []).map((target) => ({
          panel: panel.title ?? '',
          expr: (target as unknown as PrometheusQuery).expr ?? '',
        }))
      : [],
  );
}
