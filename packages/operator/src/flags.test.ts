// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';
import { FlagError, HELP, parseFlags } from './flags.ts';

test('defaults', () => {
  const flags = parseFlags([]);
  assert.ok(typeof flags === 'object');
  assert.deepEqual([flags.host, flags.port, flags.qps, flags.leaderElect], ['0.0.0.0', 7118, 40, true]);
  assert.deepEqual(flags.limits, {
    maxFrequencyHz: 997,
    maxCpuPercentOfNode: 100,
    defaultExport: undefined,
    resourceAttributes: {},
  });
});

test('limits and the default export', () => {
  const flags = parseFlags([
    '--max-frequency-hz=99',
    '--default-otlp-endpoint',
    'c:4317',
    '--cluster-name',
    'x',
    '--http',
    '[::1]:80',
  ]);
  assert.ok(typeof flags === 'object');
  assert.equal(flags.limits.maxFrequencyHz, 99);
  assert.equal(flags.limits.defaultExport?.endpoint, 'c:4317');
  assert.deepEqual(flags.limits.resourceAttributes, { 'k8s.cluster.name': 'x' });
  assert.equal(flags.host, '::1');
});

for (const args of [
  ['--qps', 'many'],
  ['--qps', ''],
  ['--qps', '0'],
  ['--http', 'nowhere'],
  ['--http', 'x:99999'],
  ['--log-level', 'loud'],
  ['--max-frequency-hz', '1000'],
  ['--default-otlp-protocol', 'grpc'],
  ['--default-otlp-endpoint', 'http://user:pw@host'],
  ['--default-otlp-endpoint', 'c:4317', '--default-otlp-protocol', 'smoke-signals'],
  ['--unknown'],
  ['positional'],
]) {
  test(`refused: ${args.join(' ')}`, () => {
    assert.throws(() => parseFlags(args), FlagError);
  });
}

test('--help names every flag', () => {
  assert.equal(parseFlags(['--help']), 'help');
  assert.equal(parseFlags(['--version']), 'version');
  for (const flag of ['kubeconfig', 'no-leader-elect', 'max-cpu-percent', 'default-otlp-protocol', 'log-level']) {
    assert.ok(HELP.includes(`--${flag} `), flag);
  }
});

test('the program: help, version, and an exit code that tells wrong use from failure', () => {
  const main = join(import.meta.dirname, 'main.ts');
  const run = (...args: string[]) => spawnSync(process.execPath, [main, ...args], { encoding: 'utf8' });
  assert.equal(execFileSync(process.execPath, [main, '--help'], { encoding: 'utf8' }), HELP);
  assert.match(run('--version').stdout, /^\d+\.\d+\.\d+\n$/);
  const wrong = run('--qps', 'many');
  assert.deepEqual(
    [wrong.status, wrong.stderr],
    [2, 'plumbline-operator: --qps many: must be a number from 1 to 1000\nSee plumbline-operator --help.\n'],
  );
  const failed = run('--kubeconfig', '/nonexistent');
  assert.equal(failed.status, 1);
  assert.match(failed.stderr, /^plumbline-operator: .*\/nonexistent/);
});
