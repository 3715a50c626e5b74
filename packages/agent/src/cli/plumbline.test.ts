// SPDX-License-Identifier: Apache-2.0
/** Runs bin/plumbline as a user does. Nothing here needs privileges, the kernel or a build. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const PLUMBLINE = fileURLToPath(new URL('../../../../bin/plumbline', import.meta.url));

function run(args: string[], options: { env?: Record<string, string>; program?: string; cwd?: string } = {}) {
  const env = { ...process.env, NODE_OPTIONS: '', NODE_TEST_CONTEXT: '', ...options.env };
  const { stdout, stderr, status } = spawnSync(options.program ?? PLUMBLINE, args, {
    encoding: 'utf8',
    env,
    cwd: options.cwd,
    timeout: 60_000,
  });
  return { stdout, stderr, status };
}

function temporary(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'plumbline-cli-'));
  t.after(() => rmSync(directory, { recursive: true }));
  return directory;
}

test('version and help go to standard output', () => {
  assert.match(run(['version']).stdout, /^plumbline \d+\.\d+\.\d+ \(Node\.js v2[4-9]\./);
  assert.match(run(['--version', '--json']).stdout, /^\{"version":"/);
  for (const args of [['--help'], ['help'], ['-h']]) {
    const { stdout, stderr, status } = run(args);
    assert.match(stdout, /Usage\n {2}plumbline <command>/);
    assert.deepEqual([stderr, status], ['', 0]);
  }
});

for (const [command, ...words] of [
  ['record', '--strategy', '--format', '--pid', 'Examples'],
  ['agent', '--config', 'exports[].otlp.endpoint', 'agent.listen', '19 Hz'],
  ['doctor', '--json', 'exit code is 1'],
  ['verify', '--pid', '--all', '256 KiB', 'Examples'],
]) {
  test(`help of ${command} names its flags and has examples`, () => {
    const { stdout, status } = run([command, '--help']);
    for (const word of words) assert.ok(stdout.includes(word), word);
    assert.equal(stdout, run(['help', command]).stdout);
    assert.equal(status, 0);
  });
}

test('without a command the help goes to standard error and the exit code is 2', () => {
  const { stdout, stderr, status } = run([]);
  assert.match(stderr, /Usage/);
  assert.deepEqual([stdout, status], ['', 2]);
});

const mistakes: [string[], number, string][] = [
  [['recrod'], 2, 'plumbline: unknown command recrod (did you mean record?); see `plumbline --help`\n'],
  [
    ['record', '--all', '--freqency', '9'],
    2,
    'plumbline: unknown flag --freqency (did you mean --frequency?); see `plumbline record --help`\n',
  ],
  [['record'], 2, 'plumbline: nothing to record; give --pid PID, --all, or a command after `--`\n'],
  [
    ['record', '--all', '--duration', '10'],
    2,
    'plumbline: --duration 10 has no unit; write --duration 10s for seconds\n',
  ],
  [
    ['record', '--pid', '4194304'],
    1,
    'plumbline: there is no process 4194304; find its number with `ps -e` or `pgrep NAME`\n',
  ],
  [
    ['record', '--', 'no-such-program'],
    1,
    'plumbline: command not found: no-such-program; check its spelling, or give its path\n',
  ],
  [['agent'], 2, 'plumbline: --config is missing; give a file: plumbline agent --config node.yaml\n'],
  [
    ['agent', '--config', '/nonexistent', '--check'],
    1,
    'plumbline: cannot read /nonexistent: no such file; check --config\n',
  ],
];
for (const [args, code, line] of mistakes) {
  test(`one line and exit code ${code}: plumbline ${args.join(' ')}`, () => {
    assert.deepEqual(run(args), { stdout: '', stderr: line, status: code });
  });
}

test('a machine gets the error as JSON on standard output too, unless --json belongs to the command', () => {
  const { stdout, stderr } = run(['record', '--json', '--pid', '4194304']);
  assert.equal(JSON.parse(stdout).error.code, 'no_such_process');
  assert.match(stderr, /there is no process/);
  assert.equal(run(['record', '--', 'no-such-program', '--json']).stdout, '');
});

test('colours only where they are wanted', () => {
  const styled = '\x1b[';
  assert.ok(!run(['--help']).stdout.includes(styled));
  assert.ok(run(['--help'], { env: { FORCE_COLOR: '1' } }).stdout.includes(styled));
  assert.ok(!run(['--help'], { env: { FORCE_COLOR: '1', NO_COLOR: '1' } }).stdout.includes(styled));
});

test('a configuration is checked, and shown with its defaults', (t) => {
  const path = join(temporary(t), 'node.yaml');
  writeFileSync(path, 'exports: [{ otlp: { endpoint: "localhost:4317" } }]\n');
  assert.equal(
    run(['agent', '--config', path, '--check']).stdout,
    `${path} is valid: 1 rules, 19 Hz, exports: default\n`,
  );
  const { spec, agent } = JSON.parse(run(['agent', '--config', path, '--check', '--json']).stdout);
  assert.equal(spec.unwinding.maxFrames, 1024);
  assert.equal(agent.listen, '127.0.0.1:7117');
  writeFileSync(path, 'sampling:\n  frequenzyHz: 5\n');
  assert.deepEqual(run(['agent', '-c', path, '--check']), {
    stdout: '',
    stderr: `plumbline: ${path}:2: sampling.frequenzyHz: unknown field (did you mean frequencyHz?); see \`plumbline agent --help\` for what it may hold\n`,
    status: 1,
  });
  const { stderr, status } = run(['agent', '-c', path, '--listen', 'nowhere']);
  assert.match(stderr, /^plumbline: --listen "nowhere": must be host:port/);
  assert.equal(status, 2);
});

test('the launcher follows links, takes the bundle beside it first, and says what is missing', (t) => {
  const directory = temporary(t);
  symlinkSync(PLUMBLINE, join(directory, 'link'));
  assert.match(run(['version'], { program: join(directory, 'link'), cwd: '/' }).stdout, /^plumbline/);

  mkdirSync(join(directory, 'bin'));
  const copy = join(directory, 'bin/plumbline');
  copyFileSync(PLUMBLINE, copy);
  chmodSync(copy, 0o755);
  const env = { PLUMBLINE_NODE: process.execPath };
  const missing = run([], { program: copy, env });
  assert.match(missing.stderr, /^plumbline: neither .*plumbline\.mjs nor .*main\.ts exists/);
  assert.equal(missing.status, 1);
  writeFileSync(join(directory, 'bin/plumbline.mjs'), 'console.log(process.argv.slice(2).join("|"))');
  assert.equal(run(['a b', '$c'], { program: copy, env }).stdout, 'a b|$c\n');
  assert.deepEqual(readdirSync(join(directory, 'bin')).sort(), ['plumbline', 'plumbline.mjs']);

  // A Node.js that is too old is passed over; here there is no other.
  const old = join(directory, 'node');
  writeFileSync(old, '#!/bin/sh\necho v20.20.2\n', { mode: 0o755 });
  const tools = join(directory, 'tools');
  mkdirSync(tools);
  for (const tool of ['sh', 'dirname', 'readlink']) symlinkSync(`/usr/bin/${tool}`, join(tools, tool));
  symlinkSync(old, join(tools, 'node'));
  const none = run([], { program: copy, env: { PLUMBLINE_NODE: '', PATH: tools } });
  assert.match(none.stderr, /^plumbline: Node\.js 24 or newer was not found; run 'make setup'/);
  assert.equal(none.status, 1);
});
