// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Budget } from './budget.ts';

test('a node over its budget samples less, in proportion', () => {
  const budget = new Budget({ ratio: 0.01, throttle: true, frequencyHz: 99 });
  assert.equal(budget.observe(0.02), 49);
  assert.equal(budget.throttled, true);
});

test('the frequency comes back step by step when there is room', () => {
  const budget = new Budget({ ratio: 0.01, throttle: true, frequencyHz: 19 });
  budget.observe(0.04);
  const rises: number[] = [];
  for (let i = 0; i < 10; i++) rises.push(budget.observe(0.001));
  assert.deepEqual([...rises].sort((a, b) => a - b), rises);
  assert.equal(rises.at(-1), 19);
});

test('a budget that only reports changes nothing', () => {
  const budget = new Budget({ ratio: 0.01, throttle: false, frequencyHz: 19 });
  assert.equal(budget.observe(0.5), 19);
  assert.equal(budget.throttled, false);
});

test('whatever is observed, the frequency stays between 1 and what was asked for', () => {
  fc.assert(
    fc.property(fc.array(fc.double({ min: 0, max: 2, noNaN: true })), fc.integer({ min: 1, max: 997 }), (ratios, hz) => {
      const budget = new Budget({ ratio: 0.01, throttle: true, frequencyHz: hz });
      for (const ratio of ratios) {
        const now = budget.observe(ratio);
        assert.ok(Number.isInteger(now) && now >= 1 && now <= hz, `${now}`);
      }
    }),
  );
});
