// SPDX-License-Identifier: Apache-2.0
/** `plumbline verify` on this kernel, as a user runs it. Needs root and a built kernel side. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { JsonVerification } from '../src/cli/verification-report.ts';

const PLUMBLINE = fileURLToPath(new URL('../../../bin/plumbline', import.meta.url));
const perfMissing =
  spawnSync('perf', ['--version']).status === 0 || process.env.CI === 'true' ? false : 'perf is not installed';
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
    assert.match(stdout, /No frame differs\.\n/);
  });

  test('a process: perf sees the same call sites', { skip: perfMissing }, () => {
    // On a machine that has other things to do, a process gets few samples: until there are enough for a verdict.
    let perf: JsonVerification['perf'];
    for (let attempt = 1; attempt <= 5; attempt++) {
      const { stdout, stderr, status } = run('--json', '--pid', String(busy.pid), '--duration', '10s', '-F', '199');
      assert.equal(status, 0, stdout + stderr);
      perf = (JSON.parse(stdout) as JsonVerification).perf;
      assert.ok(perf && 'verdict' in perf, JSON.stringify(perf));
      if (perf.verdict !== 'undecided') break;
    }
    assert.ok(perf && 'verdict' in perf);
    assert.equal(perf.verdict, 'agree', JSON.stringify(perf, null, 1));
    assert.ok(perf.sites > 0 && perf.rooted.plumbline === 1 && perf.rooted.perf > 0.9, JSON.stringify(perf));
    const text = run('--pid', String(busy.pid), '--duration', '1s', '--no-perf').stdout;
    assert.doesNotMatch(text, /perf/);
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
