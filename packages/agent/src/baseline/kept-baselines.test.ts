// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { KeptBaselines } from './kept-baselines.ts';

const entry = {
  policy: 'p',
  workload: 'shop/api',
  sinceMs: 1,
  atMs: 2,
  samples: 1000.5,
  truncated: 3.25,
  frames: 40_000,
};
let directory: string;
let kept: KeptBaselines;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'plumbline-baselines-'));
  kept = new KeptBaselines(join(directory, 'state'));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

test('what is saved is loaded, and nothing else lies in the folder', () => {
  assert.deepEqual(kept.load(), { outcome: 'absent', entries: [] });
  kept.save([entry]);
  kept.save([entry, { ...entry, workload: 'shop/db' }]);
  const { outcome, entries } = kept.load();
  assert.equal(outcome, 'loaded');
  assert.deepEqual(entries, [entry, { ...entry, workload: 'shop/db' }]);
  assert.deepEqual(readdirSync(join(directory, 'state')), ['baselines.json']);
});

const spoilt: [string, (path: string) => void][] = [
  ['cut off', (path) => truncateSync(path, 30)],
  ['empty', (path) => writeFileSync(path, '')],
  ['of another layout', (path) => writeFileSync(path, '{"layout":2,"entries":[]}')],
  ['not a number', (path) => writeFileSync(path, readFileSync(path, 'utf8').replace('1000.5', '"many"'))],
  ['impossible', (path) => writeFileSync(path, readFileSync(path, 'utf8').replace('3.25', '5000'))],
  ['too large', (path) => writeFileSync(path, ' '.repeat(5 << 20))],
];
for (const [what, spoil] of spoilt) {
  test(`a file that is ${what} is rejected, with a reason, and can be written again`, () => {
    kept.save([entry]);
    spoil(kept.path);
    const loaded = kept.load();
    assert.equal(loaded.outcome, 'rejected');
    assert.deepEqual(loaded.entries, []);
    assert.ok(loaded.outcome === 'rejected' && loaded.why.length > 0);
    kept.save([entry]);
    assert.equal(kept.load().outcome, 'loaded');
  });
}
