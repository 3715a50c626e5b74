// SPDX-License-Identifier: Apache-2.0
/** The rules on made-up series, by promtool: every alert fires on what it is for, and on nothing that looks alike. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ruleFile } from '../../deploy/monitoring/rules.ts';
import { CASES } from './alert-cases.ts';
import { testAlert } from './promtool.ts';

const rules = ruleFile();
const names = rules.groups.flatMap(({ rules }) => rules.flatMap((rule) => ('alert' in rule ? [rule.alert] : [])));

describe('alerts', { timeout: 300_000 }, () => {
  it('are all tested', () => assert.deepEqual(Object.keys(CASES).sort(), [...names].sort()));

  for (const [alert, cases] of Object.entries(CASES)) {
    it(`${alert}: ${cases.map(({ title }) => title).join('; ')}`, async () => {
      assert.ok(cases.some(({ firing }) => Object.values(firing).some((alerts) => alerts.length > 0)));
      await testAlert(rules, alert, cases);
    });
  }

  it('would be found to be wrong', async () => {
    const wrong = { title: 'silence', series: { 'other{}': '0x80' }, firing: { '30m': ['{}'] } };
    await assert.rejects(testAlert(rules, 'PlumblineAgentDown', [wrong]), /FAILED/);
  });
});
