// SPDX-License-Identifier: Apache-2.0
/** What expressions may ask for: the metrics of the agent with their labels, recorded series, and a few of others. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { METRICS, type MetricDefinition } from '../../packages/agent/src/metrics/definitions.ts';
import { recordingRules } from './recording-rules.ts';
import { RULE_PARAMETERS } from './rule-parameters.ts';

const OF_OPERATOR = ['plumbline_policy_nodes'];
/** Attached by discovery. */
const TARGET_LABELS = ['job', 'instance', 'node', 'le'];

const defined = new Map((Object.values(METRICS) as MetricDefinition[]).map((metric) => [metric.name, metric]));
const recorded = new Set(recordingRules(RULE_PARAMETERS).map(({ record }) => record));
const operator = readFileSync(join(import.meta.dirname, '../../packages/operator/src/fleet-metrics.ts'), 'utf8');
for (const name of OF_OPERATOR) assert.ok(operator.includes(`'${name}'`), name);

/** Throws where an expression asks for a metric that nobody defines, or by a label that it does not have. */
export function assertDefined(expression: string): void {
  for (const [name] of expression.matchAll(/\bplumbline_[a-z_]+(:[a-z0-9_]+)*/g)) {
    const known = defined.get(name) ?? defined.get(name.replace(/_(bucket|sum|count)$/, ''));
    assert.ok(known || recorded.has(name) || OF_OPERATOR.includes(name), `${name} in ${expression}`);
  }
  for (const [, name, matchers] of expression.matchAll(/\b(plumbline_[a-z_]+?)(?:_bucket)?\{([^}]*)\}/g)) {
    const labels = defined.get(name)?.labels;
    for (const [, label] of matchers.matchAll(/([a-z_]+)(?:=|!=)/g))
      assert.ok(!labels || label in labels || TARGET_LABELS.includes(label), `${name} has no label ${label}`);
  }
}
