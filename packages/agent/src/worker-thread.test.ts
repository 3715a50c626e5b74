// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { AgentError } from './errors.ts';
import { WorkerThread } from './worker-thread.ts';

/** Gives back its number and the thread that it ran on, or does what its name says. */
const PROGRAM = `
import { parentPort, threadId } from 'node:worker_threads';
parentPort.on('message', ({ task, input }) => {
  if (task === 'exit') process.exit(3);
  if (task === 'crash') setImmediate(() => { throw new Error('out of luck'); });
  else if (task === 'exhaust') for (const all = []; ; ) all.push(new Array(1 << 20).fill(all.length));
  else if (task === 'refuse') parentPort.postMessage({ error: 'will not' });
  else parentPort.postMessage({ output: { input, thread: threadId } });
});`;

type TaskName = 'echo' | 'refuse' | 'crash' | 'exit' | 'exhaust';
type EchoTasks = Record<TaskName, { input: unknown; output: { input: unknown; thread: number } }>;

const HOUR = 3_600_000;

describe('WorkerThread', () => {
  let directory: string;
  const threads: WorkerThread<EchoTasks>[] = [];

  let idle: number;

  function open(idleMs: number, program = PROGRAM): WorkerThread<EchoTasks> {
    const path = join(directory, 'program.mjs');
    writeFileSync(path, program);
    const thread = new WorkerThread<EchoTasks>(pathToFileURL(path), { idleMs, onIdle: () => void idle++ });
    threads.push(thread);
    return thread;
  }

  beforeEach(() => {
    idle = 0;
    directory = mkdtempSync(join(tmpdir(), 'plumbline-worker-thread-'));
  });
  afterEach(async () => {
    for (const thread of threads.splice(0)) await thread.close();
    rmSync(directory, { recursive: true });
  });

  it('does the smallest task that waits first, and of equal ones the oldest', async () => {
    const thread = open(HOUR);
    const done: unknown[] = [];
    const tasks = [5, 9, 2, 2, 7].map((size, index) =>
      thread.run('echo', `${size}#${index}`, { size }).then(({ input }) => done.push(input)),
    );
    await Promise.all(tasks);
    assert.deepEqual(done, ['5#0', '2#2', '2#3', '7#4', '9#1'], 'the first one had begun');
  });

  it('takes what is handed over', async () => {
    const bytes = Uint8Array.of(1, 2);
    const { input } = await open(HOUR).run('echo', bytes, { transfer: [bytes.buffer] });
    assert.deepEqual([input, bytes.length], [Uint8Array.of(1, 2), 0]);
  });

  it('ends when it is idle, and starts again when it is needed', async () => {
    const thread = open(0);
    assert.equal(thread.isRunning, false, 'nothing to do yet');
    const first = await thread.run('echo', 1);
    while (thread.isRunning) await setImmediate();
    const second = await thread.run('echo', 2);
    assert.equal(second.input, 2);
    assert.notEqual(second.thread, first.thread);
    while (idle < 2) await setImmediate();
  });

  it('stays while there is something to do', async () => {
    const thread = open(HOUR);
    const first = await thread.run('echo', 1);
    const second = await thread.run('echo', 2);
    assert.equal(second.thread, first.thread);
    assert.deepEqual([thread.isRunning, idle], [true, 0]);
  });

  it('does what is asked for while the thread ends', async () => {
    const thread = open(0);
    const first = await thread.run('echo', 1);
    while (thread.isRunning) await setImmediate();
    // The old thread has been told to end and has not ended: its exit comes while this waits.
    const waiting = Array.from({ length: 5 }, (_, input) => thread.run('echo', input));
    const replies = await Promise.all(waiting);
    assert.deepEqual(
      replies.map(({ input }) => input),
      [0, 1, 2, 3, 4],
    );
    assert.equal(new Set([first.thread, ...replies.map((reply) => reply.thread)]).size, 2);
  });

  it('passes on why a task failed, and goes on', async () => {
    const thread = open(HOUR);
    await assert.rejects(thread.run('refuse', 1), /^Error: will not$/);
    assert.equal((await thread.run('echo', 2)).input, 2);
  });

  it('refuses an input that cannot be sent, and goes on', async () => {
    const thread = open(HOUR);
    const [, refused, after] = [1, () => {}, 3].map((input) => thread.run('echo', input));
    await assert.rejects(refused, { name: 'DataCloneError' });
    assert.equal((await after).input, 3);
  });

  for (const [task, why] of [
    ['crash', /out of luck/],
    ['exit', /exit code 3/],
    ['exhaust', /memory limit/],
  ] as const) {
    it(`fails only the task that the thread died of: ${task}`, { timeout: 60_000 }, async () => {
      const thread = open(HOUR);
      const before = thread.run('echo', 1);
      const deadly = thread.run(task, 2);
      const after = thread.run('echo', 3);
      await assert.rejects(deadly, why);
      const [{ thread: old }, { input, thread: next }] = await Promise.all([before, after]);
      assert.equal(input, 3);
      assert.notEqual(next, old);
    });
  }

  it('fails each task of a program that cannot run', async () => {
    const thread = open(HOUR, "throw new Error('broken');");
    const results = await Promise.allSettled([1, 2, 3].map((input) => thread.run('echo', input)));
    for (const result of results) assert.match(String('reason' in result && result.reason), /broken/);
  });

  it('fails at once where the program of its thread is missing', () => {
    assert.throws(
      () => new WorkerThread(pathToFileURL('/nonexistent/worker.mjs')),
      (error) => error instanceof AgentError && error.code === 'not_built' && /worker\.mjs/.test(error.message),
    );
  });

  it('answers everyone when it is closed, and starts again when it is needed', async () => {
    const thread = open(HOUR);
    const waiting = Promise.allSettled([thread.run('echo', 1), thread.run('echo', 2)]);
    await thread.close();
    for (const result of await waiting) assert.match(String('reason' in result && result.reason), /shutting down/);
    assert.equal((await thread.run('echo', 3)).input, 3);
  });
});
