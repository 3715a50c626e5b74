// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MEMORY_BYTES, memoriesPerCpu } from './memories.ts';

test('memories take no more than their share, but one for each CPU', () => {
  assert.equal(memoriesPerCpu(2), 16);
  for (const cpus of [16, 64, 180]) {
    const count = memoriesPerCpu(cpus);
    assert.ok(count >= 1 && count * cpus * MEMORY_BYTES <= 24 << 20, `${count} of ${cpus}`);
  }
  assert.equal(memoriesPerCpu(1024), 1);
});
