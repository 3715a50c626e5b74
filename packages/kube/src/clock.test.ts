// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { microTime } from './clock.ts';

test('MicroTime has six digits, as the API server demands', () => {
  assert.equal(microTime(new Date('2026-01-02T03:04:05.6Z')), '2026-01-02T03:04:05.600000Z');
});
