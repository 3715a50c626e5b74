// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { LabelSelector, matchesSelector, selectorsOverlap } from './selector.ts';

const key = fc.constantFrom('app', 'tier');
const value = fc.constantFrom('a', 'b', 'c');
const requirement = fc.oneof(
  fc.record({
    key,
    operator: fc.constantFrom('In' as const, 'NotIn' as const),
    values: fc.uniqueArray(value, { minLength: 1 }),
  }),
  fc.record({ key, operator: fc.constantFrom('Exists' as const, 'DoesNotExist' as const) }),
);
const selector = fc.record(
  { matchLabels: fc.dictionary(key, value), matchExpressions: fc.array(requirement, { maxLength: 4 }) },
  { requiredKeys: [] },
);

// Every way to label a pod with these keys; `other` stands for all values that no selector names.
const universe = ['', 'a', 'b', 'c', 'other'].flatMap((app) =>
  ['', 'a', 'b', 'c', 'other'].map(
    (tier) => ({ ...(app && { app }), ...(tier && { tier }) }) as Record<string, string>,
  ),
);

test('two selectors overlap exactly when some labels satisfy both', () => {
  fc.assert(
    fc.property(selector, selector, (a, b) => {
      const witness = universe.some((labels) => matchesSelector(a, labels) && matchesSelector(b, labels));
      assert.equal(selectorsOverlap(a, b), witness);
    }),
    { numRuns: 2_000 },
  );
});

test('matching follows the Kubernetes rules for absent keys', () => {
  const match = (operator: 'In' | 'NotIn' | 'Exists' | 'DoesNotExist', labels: Record<string, string>) =>
    matchesSelector(
      { matchExpressions: [{ key: 'app', operator, ...(operator.endsWith('In') && { values: ['api'] }) }] },
      labels,
    );
  assert.deepEqual([match('In', {}), match('In', { app: 'api' }), match('In', { app: 'web' })], [false, true, false]);
  assert.deepEqual(
    [match('NotIn', {}), match('NotIn', { app: 'api' }), match('NotIn', { app: 'web' })],
    [true, false, true],
  );
  assert.deepEqual([match('Exists', {}), match('Exists', { app: '' })], [false, true]);
  assert.deepEqual([match('DoesNotExist', {}), match('DoesNotExist', { app: '' })], [true, false]);
  assert.equal(matchesSelector(undefined, {}), true);
  assert.equal(matchesSelector({ matchLabels: { constructor: 'x' } }, {}), false);
});

test('a requirement without the values that its operator needs is refused', () => {
  const parse = (requirement: object) => LabelSelector.safeParse({ matchExpressions: [requirement] }).success;
  assert.equal(parse({ key: 'app', operator: 'In', values: ['a'] }), true);
  assert.equal(parse({ key: 'app', operator: 'In' }), false);
  assert.equal(parse({ key: 'app', operator: 'In', values: [] }), false);
  assert.equal(parse({ key: 'app', operator: 'Exists', values: ['a'] }), false);
  assert.equal(parse({ key: 'not a key', operator: 'Exists' }), false);
});
