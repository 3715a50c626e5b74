// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { canonicalHash, canonicalJson, configHash } from './config-hash.ts';

const reversed = (value: unknown): unknown => {
  if (Array.isArray(value)) return value.map(reversed);
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(
    Object.entries(value)
      .reverse()
      .map(([key, item]) => [key, reversed(item)]),
  );
};

test('the order of keys does not matter, everything else does', () => {
  fc.assert(
    fc.property(fc.jsonValue(), fc.jsonValue(), (a, b) => {
      assert.equal(canonicalHash(a), canonicalHash(reversed(a)));
      assert.deepEqual(JSON.parse(canonicalJson(a)), JSON.parse(JSON.stringify(a)));
      if (canonicalJson(a) !== canonicalJson(b)) assert.notEqual(canonicalHash(a), canonicalHash(b));
    }),
  );
});

test('the hash in a spec is not part of the hash', () => {
  assert.equal(configHash({ rules: [], configHash: 'x' }), configHash({ rules: [], configHash: 'y' }));
  assert.notEqual(configHash({ rules: [] }), configHash({ rules: [1] }));
  assert.match(configHash({}), /^[0-9a-f]{16}$/);
});
