// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { reasons } from '@plumbline/bpf';
import { assertDefined } from './defined-metrics.fixture.ts';
import { RULE_PARAMETERS, secondsOf } from './rule-parameters.ts';
import { type AlertRule, ruleFile, runbookOf } from './rules.ts';

const root = join(import.meta.dirname, '../..');
const runbooks = join(root, 'docs', 'runbooks');
const rules = ruleFile().groups.flatMap((group) => group.rules);
const alerts = rules.filter((rule): rule is AlertRule => 'alert' in rule);

test('rules ask only for metrics that are defined, by labels that these have', () => {
  for (const { expr } of rules) assertDefined(expr);
  assert.throws(() => assertDefined('rate(plumbline_sample_total[5m])'), /plumbline_sample_total/);
  assert.throws(() => assertDefined('plumbline_samples_total{pod="x"}'), /no label pod/);
});

test('every alert has a page that says what it means and what to do, and every page an alert', () => {
  const pages = readdirSync(runbooks).filter((file) => /^Plumbline.*\.md$/.test(file));
  assert.deepEqual(pages.sort(), alerts.map(({ alert }) => runbookOf(alert)).sort());
  for (const { alert, labels, annotations } of alerts) {
    const text = readFileSync(join(runbooks, runbookOf(alert)), 'utf8');
    assert.match(text, new RegExp(`^# ${alert}$`, 'm'));
    assert.match(text, new RegExp(`severity: ${labels.severity}`), `${alert} is ${labels.severity}`);
    for (const heading of ['What it means', 'What to do', 'When it is over'])
      assert.match(text, new RegExp(`^## ${heading}\n\n.`, 'm'), `${alert} has no "${heading}"`);
    assert.ok(annotations.runbook_url.endsWith(`/docs/runbooks/${runbookOf(alert)}`));
    for (const [, link] of text.matchAll(/\]\(([^)#]+)[^)]*\)/g))
      if (!link.startsWith('http')) assert.ok(existsSync(join(runbooks, link)), `${alert} links to ${link}`);
  }
});

test('every reason has its section in the runbook, under the name that alerts link to', () => {
  const sections = [...readFileSync(join(runbooks, 'reasons.md'), 'utf8').matchAll(/^## (\S+)\n\n([^#]+)/gm)];
  assert.deepEqual(sections.map(([, name]) => name).sort(), reasons.map(({ name }) => name).sort());
  for (const [, name, text] of sections) {
    const { outcome } = reasons.find((reason) => reason.name === name)!;
    assert.equal(/\*\*To do\*\*/.test(text), outcome === 'truncated' || outcome === 'dropped', name);
    for (const [, link] of text.matchAll(/\]\(([^)#]+)\)/g)) assert.ok(existsSync(join(runbooks, link)), link);
  }
  const linked = alerts.filter(({ annotations }) => annotations.reason_url !== undefined);
  assert.ok(
    linked.length >= 2 &&
      linked.every(({ annotations }) => annotations.reason_url?.endsWith('reasons.md#{{ $labels.reason }}')),
  );
});

test('names, severities and texts are of one form', () => {
  assert.equal(new Set(alerts.map(({ alert }) => alert)).size, alerts.length);
  for (const { alert, labels, annotations, expr } of alerts) {
    assert.match(alert, /^Plumbline([A-Z][a-z]+)+$/);
    assert.match(labels.severity, /^(critical|warning|info)$/);
    for (const text of [annotations.summary, annotations.description]) assert.match(text, /[.]$/, alert);
    assert.ok(!expr.includes('undefined'));
  }
});

test('durations are one number and one unit', () => {
  assert.equal(secondsOf(RULE_PARAMETERS.short), 300);
  assert.equal(secondsOf(RULE_PARAMETERS.history), 86_400);
  assert.throws(() => secondsOf('1h30m'), /not a duration/);
});
