// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { readArguments } from './arguments.ts';
import { recordCommand } from './record.ts';
import { datedName, readRecordRequest } from './record-request.ts';

const NOW = new Date(2026, 10, 27, 15, 24, 5);

function request(words: string[], stdoutIsTerminal = true) {
  const context = { searchPath: process.env.PATH, stdoutIsTerminal, now: NOW };
  return readRecordRequest(readArguments(recordCommand, words), context);
}

test('defaults: ten seconds at 99 Hz, best strategy, into a flame graph with a dated name', () => {
  assert.deepEqual(request(['--all']), {
    options: {
      target: { kind: 'all' },
      durationMs: 10_000,
      frequency: 99,
      event: 'cpu-clock',
      strategy: 'auto',
      maxFrames: 4096,
      keepRawStacks: false,
    },
    format: 'html',
    path: 'plumbline-all-20261127-152405.html',
    what: 'all processes',
    json: false,
    foldRecursion: false,
  });
});

test('standard output gets folded stacks when it is piped, but not when it belongs to a command or to --json', () => {
  const piped = request(['--all'], false);
  assert.equal(piped.path, undefined);
  assert.equal(piped.format, 'folded');
  assert.match(request(['--all', '--json'], false).path ?? '', /^plumbline-all-.*\.html$/);
  assert.match(request(['--', 'true'], false).path ?? '', /^plumbline-true-.*\.html$/);
  const asked = request(['--output', '-', '--', 'true'], true);
  assert.equal(asked.path, undefined);
  assert.deepEqual(asked.options.target, { kind: 'command', argv: ['true'], stdout: 'stderr' });
  assert.deepEqual(request(['--json', '--', 'true']).options.target, asked.options.target);
});

test('the name of the output decides the format, --format decides before it', () => {
  const names: [string, string][] = [
    ['a.html', 'html'],
    ['a.pb.gz', 'pprof'],
    ['a.folded', 'folded'],
    ['A.JSON', 'otlp-json'],
    ['a.jsonl', 'raw'],
    ['a', 'folded'],
  ];
  for (const [name, format] of names) assert.equal(request(['--all', '-o', name]).format, format, name);
  assert.equal(request(['--all', '-o', 'a.html', '-f', 'pprof']).format, 'pprof');
  assert.equal(request(['--all', '--format', 'raw']).options.keepRawStacks, true);
});

test('a command is recorded until it ends, unless a duration is given', () => {
  assert.equal(request(['--', 'true']).options.durationMs, Number.POSITIVE_INFINITY);
  assert.equal(request(['-d', '2s', '--', 'true']).options.durationMs, 2000);
});

const mistakes: [string[], RegExp][] = [
  [[], /nothing to record/],
  [['--pid', '1', '--all'], /exclude each other/],
  [['--'], /no command after/],
  [['--all', '--frequency', '0'], /--frequency "0" is not a number from 1 to 10000/],
  [['--all', '--max-frames', '5000'], /from 16 to 4096/],
  [['--all', '--strategy', 'loops'], /did you mean loop\?/],
  [['--all', '--event', 'cycle'], /did you mean cycles\?/],
  [['--all', '--format', 'svg'], /"svg" is not known/],
  [['--all', '--output', ''], /--output is empty/],
  [['--all', '--json', '--output', '-'], /both want standard output/],
  [['--pid', 'nginx'], /--pid "nginx" is not a number/],
];
for (const [words, pattern] of mistakes) {
  test(`mistake: record ${words.join(' ')}`, () =>
    assert.throws(() => request(words), { code: 'usage', message: pattern }));
}

test('targets that do not exist are named', () => {
  assert.throws(() => request(['--pid', String(2 ** 22)]), { code: 'no_such_process' });
  assert.throws(() => request(['--', 'no-such-program-here']), {
    code: 'command_not_found',
    message: /command not found/,
  });
  assert.throws(() => request(['--', '/etc/passwd']), { code: 'command_not_found', message: /is not executable/ });
  assert.throws(() => request(['--', '/']), { code: 'command_not_found', message: /is a directory/ });
});

test('a thread is not a process: its process is named', async (t) => {
  const worker = new Worker('setInterval(() => {}, 1000)', { eval: true });
  t.after(() => worker.terminate());
  await new Promise((resolve) => worker.once('online', resolve));
  const thread = readdirSync('/proc/self/task').find((id) => id !== String(process.pid)) as string;
  assert.throws(() => request(['--pid', thread]), { remedy: `record its process: --pid ${process.pid}` });
});

test('a process that has ended but was not waited for is gone', async (t) => {
  // The outer shell becomes sleep, which never waits for children; the inner one ends when that has happened.
  const inner = 'until grep -qx sleep /proc/$PPID/comm; do :; done';
  const parent = spawn('/bin/sh', ['-c', `sh -c '${inner}' & echo $!; exec sleep 600`]);
  t.after(() => parent.kill());
  const pid = await new Promise<string>((resolve) =>
    parent.stdout.once('data', (data) => resolve(String(data).trim())),
  );
  const deadline = Date.now() + 10_000;
  for (;;) {
    try {
      request(['--pid', pid]);
    } catch (error) {
      assert.equal((error as { code: string }).code, 'process_gone');
      return;
    }
    assert.ok(Date.now() < deadline, 'the child has not ended');
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
});

test('a name for the file is made of safe characters', () => {
  assert.equal(datedName('../a b', NOW, 'pprof'), 'plumbline-.._a_b-20261127-152405.pb.gz');
  assert.equal(datedName('', NOW, 'raw'), 'plumbline-command-20261127-152405.jsonl');
});

test('folding is for stacks in a format that has a place for the count', () => {
  assert.equal(request(['--all', '--fold-recursion', '-o', 'x.pb.gz']).foldRecursion, true);
  assert.throws(
    () => request(['--all', '--fold-recursion', '--format', 'raw']),
    /--fold-recursion is not for raw stacks/,
  );
});
