// SPDX-License-Identifier: Apache-2.0
/** `plumbline verify` on this kernel, as a user runs it. Needs root and a built kernel side. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { JsonVerification } from '../src/cli/verification-report.ts';

const PLUMBLINE = fileURLToPath(new URL('../../../bin/plumbline', import.meta.url));
const skip = process.getuid?.() === 0 || process.env.CI === 'true' ? false : 'needs root';

describe('plumbline verify', { skip, timeout: 300_000 }, () => {
  let busy: ChildProcess;
  const run = (...args: string[]) => {
    const env = { ...process.env, NODE_OPTIONS: '', NODE_TEST_CONTEXT: '' };
    return spawnSync(PLUMBLINE, ['verify', ...args], { encoding: 'utf8', env, timeout: 200_000 });
  };
  before(() => {
    busy = spawn('/bin/sh', ['-c', 'while :; do :; done'], { stdio: 'ignore' });
  });
  after(() => busy?.kill('SIGKILL'));

  test('a process: the verdict for people', () => {
    const { stdout, stderr, status } = run('--pid', String(busy.pid), '--duration', '2s');
    assert.equal(status, 0, stdout + stderr);
    assert.match(stdout, /^Verified sh \(pid \d+\) for [\d.]+s at 99 Hz, strategy \w+: \d+ complete walks/);
    assert.match(stdout, /^ {2}equal +[1-9]/m);
    assert.match(stdout, /No frame differs\.\n$/);
  });

  test('a command: the verdict for machines', () => {
    const { stdout, stderr, status } = run('--json', '--', 'perl', '-e', '$i++ while $i < 2e7');
    assert.equal(status, 0, stdout + stderr);
    const verification: JsonVerification = JSON.parse(stdout);
    assert.ok(verification.compared > 0 && verification.verdicts.equal > 0, stdout);
    assert.deepEqual(verification.mismatches, []);
  });

  test('a target that does not run is no success', () => {
    const sleeper = spawn('sleep', ['60']);
    try {
      const { stdout, status } = run('--pid', String(sleeper.pid), '--duration', '200ms');
      assert.match(stdout, /Nothing was compared/);
      assert.equal(status, 1);
    } finally {
      sleeper.kill('SIGKILL');
    }
  });

  test('a target that does not exist is refused', () => {
    const { stderr, status } = run('--pid', '4194303');
    assert.match(stderr, /^plumbline: there is no process 4194303/);
    assert.equal(status, 1);
  });
});
