// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { releaseMemory } from '../src/index.ts';

/** Resident memory of this process: MiB. */
function resident(kind: 'RssAnon' | 'RssFile'): number {
  const status = readFileSync('/proc/self/status', 'utf8');
  return Number(new RegExp(`^${kind}:\\s+(\\d+) kB`, 'm').exec(status)?.[1]) / 1024;
}

describe('releaseMemory', () => {
  test('free memory inside the heap of the C library is given back', () => {
    // Small enough not to be mapped each for itself. The last one keeps the heap from shrinking at its end.
    const blocks = Array.from({ length: 4000 }, () => new Uint8Array(16 << 10).fill(1).buffer);
    const kept = blocks.pop();
    for (const block of blocks.splice(0)) block.transfer(0); // frees its memory at once
    const before = resident('RssAnon');
    releaseMemory();
    const after = resident('RssAnon');
    assert.ok(after < before - 30, `${before} MiB, ${after} MiB afterwards`);
    assert.deepEqual(new Uint8Array(kept as ArrayBuffer).subarray(0, 2), Uint8Array.of(1, 1));
  });

  test('code of the program leaves memory and comes back', () => {
    releaseMemory();
    const before = resident('RssFile');
    // What an interpreter runs for the first time.
    JSON.parse(JSON.stringify({ text: 'x'.repeat(1000).replaceAll(/x/g, 'yz').normalize('NFKD') }));
    assert.equal(new Intl.NumberFormat('en').format(1234.5), '1,234.5');
    const used = resident('RssFile');
    releaseMemory();
    const after = resident('RssFile');
    assert.ok(used > before, `${before} MiB, ${used} MiB once code was run`);
    assert.ok(after < used, `${used} MiB, ${after} MiB afterwards`);
  });
});
