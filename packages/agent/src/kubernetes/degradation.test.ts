// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { REASONS } from '@plumbline/api';
import { Degradation, type IntervalHealth } from './degradation.ts';

const WELL: IntervalHealth = {
  frequencyHz: 19,
  wantedFrequencyHz: 19,
  budgetExhausted: false,
  fired: 1000,
  dropped: 0,
  exports: [],
};
const MINUTE = 60_000;

/** Observes the same every ten seconds; returns when trouble was first there. */
function hold(degradation: Degradation, health: IntervalHealth, from: number, forMs: number): number | undefined {
  let first: number | undefined;
  for (let at = from; at <= from + forMs; at += 10_000) {
    degradation.observe(health, at);
    if (degradation.trouble) first ??= at - from;
  }
  return first;
}

describe('Degradation', () => {
  const cases: [string, IntervalHealth, number][] = [
    ['SamplesLost', { ...WELL, dropped: 60 }, MINUTE],
    ['ExportFailing', { ...WELL, exports: [{ name: 'a', queued: 3, sent: 0 }] }, 5 * MINUTE],
    ['OverBudget', { ...WELL, frequencyHz: 9 }, 2 * MINUTE],
    ['OverBudget', { ...WELL, frequencyHz: 5, budgetExhausted: true }, 2 * MINUTE],
  ];
  for (const [reason, health, holdMs] of cases) {
    it(`tells ${reason} when it lasts, and withdraws it when it is over for as long`, () => {
      const degradation = new Degradation();
      assert.equal(hold(degradation, WELL, 0, 10 * MINUTE), undefined);
      assert.equal(hold(degradation, health, 11 * MINUTE, 10 * MINUTE), holdMs);
      assert.equal(degradation.trouble?.reason, reason);
      assert.ok(reason in REASONS);
      degradation.observe(WELL, 22 * MINUTE);
      assert.equal(degradation.trouble?.reason, reason, 'one good interval is not the end of it');
      hold(degradation, WELL, 22 * MINUTE, holdMs);
      assert.equal(degradation.trouble, undefined);
    });
  }

  it('does not tell what comes and goes', () => {
    const degradation = new Degradation();
    for (let at = 0; at < 60 * MINUTE; at += 10_000)
      degradation.observe(at % 30_000 === 0 ? WELL : { ...WELL, dropped: 500, frequencyHz: 1 }, at);
    assert.equal(degradation.trouble, undefined);
  });

  it('takes a destination that delivers for well, however much waits', () => {
    const degradation = new Degradation();
    const busy = { ...WELL, exports: [{ name: 'a', queued: 50, sent: 1 }] };
    assert.equal(hold(degradation, busy, 0, 20 * MINUTE), undefined);
  });
});
