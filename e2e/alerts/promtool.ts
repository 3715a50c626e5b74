// SPDX-License-Identifier: Apache-2.0
/** Unit tests of rules by `promtool test rules`: series go in, firing alerts come out. Its files are JSON, which is YAML. */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { RecordingRule } from '../../deploy/monitoring/recording-rules.ts';
import type { AlertRule, RuleFile } from '../../deploy/monitoring/rules.ts';
import { ensureTool } from '../cluster/tools.ts';

export interface AlertCase {
  readonly title: string;
  /** Series in promtool's notation, one value every 30 s: `metric{labels}` → `0+5x100`. */
  readonly series: Readonly<Record<string, string>>;
  /** Time since the beginning (`10m`) → labels of each firing alert, without those of every alert: `{policy="p"}`. */
  readonly firing: Readonly<Record<string, readonly string[]>>;
}

const INTERVAL = '30s';

/** One alert with the recorded series that it needs: the others would only take time. */
function rulesFor(alert: AlertRule, { groups }: RuleFile): RuleFile {
  const needed = new Set<AlertRule | RecordingRule>([alert]);
  for (const rule of needed)
    for (const other of groups.flatMap(({ rules }) => rules))
      if ('record' in other && rule.expr.includes(other.record)) needed.add(other);
  return { groups: groups.map((group) => ({ ...group, rules: group.rules.filter((rule) => needed.has(rule)) })) };
}

/** @throws Error with promtool's account of the cases that are not as expected. */
export async function testAlert(rules: RuleFile, alert: string, cases: readonly AlertCase[]): Promise<void> {
  const rule = rules.groups.flatMap((group) => group.rules).find((rule) => 'alert' in rule && rule.alert === alert);
  if (!rule || !('alert' in rule)) throw new Error(`there is no alert ${alert}`);
  const directory = mkdtempSync(join(tmpdir(), 'plumbline-promtool-'));
  const labelsOf = (own: string) => {
    const common = `alertname="${alert}", alertstate="firing", severity="${rule.labels.severity}"`;
    return `ALERTS{${[common, own.slice(1, -1)].filter(Boolean).join(', ')}}`;
  };
  const tests = cases.map(({ title, series, firing }) => ({
    name: title,
    interval: INTERVAL,
    input_series: Object.entries(series).map(([name, values]) => ({ series: name, values })),
    promql_expr_test: Object.entries(firing).map(([time, alerts]) => ({
      expr: `ALERTS{alertname="${alert}", alertstate="firing"}`,
      eval_time: time,
      exp_samples: alerts.map((own) => ({ labels: labelsOf(own), value: 1 })),
    })),
  }));
  try {
    writeFileSync(join(directory, 'rules.yaml'), JSON.stringify(rulesFor(rule, rules)));
    writeFileSync(
      join(directory, 'tests.yaml'),
      JSON.stringify({ rule_files: ['rules.yaml'], evaluation_interval: INTERVAL, tests }),
    );
    await promisify(execFile)(await ensureTool('promtool'), ['test', 'rules', join(directory, 'tests.yaml')]).catch(
      ({ stdout, stderr }) => {
        throw new Error(`${alert}\n${stdout}${stderr}`);
      },
    );
  } finally {
    rmSync(directory, { recursive: true });
  }
}
