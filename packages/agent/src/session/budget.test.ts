// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Budget } from './budget.ts';

test('a node that stays over its budget samples less', () => {
  const budget = new Budget({ ratio: 0.01, throttle: true, frequencyHz: 99 });
  for (let i = 0; i < 20; i++) budget.observe(0.04);
  assert.equal(budget.throttled, true);
  assert.ok(budget.frequencyHz < 50);
});

test('one expensive interval is no trend', () => {
  const budget = new Budget({ ratio: 0.01, throttle: true, frequencyHz: 99 });
  for (let i = 0; i < 5; i++) budget.observe(0.005);
  assert.equal(budget.observe(0.025), 99);
});

test('the frequency comes back step by step when there is room', () => {
  const budget = new Budget({ ratio: 0.01, throttle: true, frequencyHz: 19 });
  for (let i = 0; i < 3; i++) budget.observe(0.1);
  const rises: number[] = [];
  for (let i = 0; i < 60; i++) rises.push(budget.observe(0.0001));
  const lowest = rises.indexOf(Math.min(...rises));
  const after = rises.slice(lowest);
  assert.deepEqual(
    after.toSorted((a, b) => a - b),
    after,
  );
  assert.equal(rises.at(-1), 19);
});

test('a budget that only reports changes nothing', () => {
  const budget = new Budget({ ratio: 0.01, throttle: false, frequencyHz: 19 });
  assert.equal(budget.observe(0.5), 19);
  assert.equal(budget.throttled, false);
});

test('a fixed cost above the budget lowers the frequency to a quarter and no further, and it shows', () => {
  const budget = new Budget({ ratio: 0.01, throttle: true, frequencyHz: 19 });
  for (let i = 0; i < 100; i++) budget.observe(0.012);
  assert.equal(budget.frequencyHz, 5);
  assert.equal(budget.exhausted, true);
  for (let i = 0; i < 100; i++) budget.observe(0.002);
  assert.equal(budget.exhausted, false);
  assert.equal(budget.frequencyHz, 19);
});

test('a budget that only reports is never exhausted', () => {
  const budget = new Budget({ ratio: 0.01, throttle: false, frequencyHz: 1 });
  for (let i = 0; i < 10; i++) budget.observe(0.5);
  assert.equal(budget.exhausted, false);
});

test('whatever is observed, the frequency stays between a quarter and the whole of what was asked for', () => {
  fc.assert(
    fc.property(
      fc.array(fc.double({ min: 0, max: 2, noNaN: true })),
      fc.integer({ min: 1, max: 997 }),
      (ratios, hz) => {
        const budget = new Budget({ ratio: 0.01, throttle: true, frequencyHz: hz });
        for (const ratio of ratios) {
          const now = budget.observe(ratio);
          assert.ok(Number.isInteger(now) && now >= hz / 4 && now <= hz, `${now}`);
        }
      },
    ),
  );
});
