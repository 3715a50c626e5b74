// SPDX-License-Identifier: Apache-2.0
/**
 * Strategy deferred, where tasks walk their own stacks: it does not disturb programs, and every sample has its outcome, also
 * where the task does not come back to user space.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { before, describe, it } from 'node:test';
import { features } from '@plumbline/bpf';
import { record } from '../../packages/agent/src/recording.ts';
import type {
  RawStack,
  RecordOptions,
  RecordProgress,
  RecordResult,
} from '../../packages/agent/src/recording-options.ts';
import { buildFixtures } from '../fixtures/build.ts';

const isPermitted = process.getuid?.() === 0 || process.env.CI === 'true';
const skip = !isPermitted ? 'needs root' : features().features.taskWork.supported ? false : 'needs Linux 6.18';

/** See fixtures/src/syscalls.c; the stack is deeper than what is walked in the interrupt. */
const PROGRAM = {
  name: 'syscalls',
  sources: ['syscalls.c'],
  commands: [['gcc', '-O1', '-g', '-fomit-frame-pointer', '-pthread', 'SRC/syscalls.c', '-o', 'syscalls']] as const,
  program: 'syscalls',
};
const DEPTH = 100;

const MOST_ROUNDS = 5;

/** The first samples wait for the task then. */
const KILL_AFTER_MS = 500;

const sum = (counts: Readonly<Record<string, number>>) => Object.values(counts).reduce((a, b) => a + b, 0);

async function recordDeferred(
  options: Pick<RecordOptions, 'target'> & Partial<RecordOptions>,
  onProgress: (progress: RecordProgress) => void = () => {},
): Promise<RecordResult> {
  const result = await record(
    {
      ...{ durationMs: 60_000, frequency: 999, event: 'cpu-clock', strategy: 'deferred', maxFrames: 4096 },
      ...{ keepRawStacks: true, abort: new AbortController().signal, ...options },
    },
    onProgress,
  );
  const { fired, byReason } = result.counters;
  assert.equal(sum(byReason), fired, 'every sample that fired has one outcome');
  for (const [reason, count] of Object.entries(byReason)) assert.ok(count > 0, `${reason}: ${count}`);
  return result;
}

/** Stacks of the recursion, which are the deep ones. */
const ofRecursion = (stacks: Iterable<RawStack>) =>
  [...stacks].filter(({ user }) => user.filter(({ name }) => name === 'recurse').length > 1);

function assertWhole(stacks: readonly RawStack[]): void {
  for (const { outcome, reason, user } of stacks) {
    assert.match(outcome, /^(complete|recovered)$/, reason);
    assert.equal(user.filter(({ name }) => name === 'recurse').length, DEPTH + 1, `${reason}, ${user.length} frames`);
  }
}

describe('strategy deferred', { skip, timeout: 180_000 }, () => {
  let program: string;
  let output: string;
  before(async () => {
    program = join((await buildFixtures([PROGRAM])).get('syscalls')!, 'syscalls');
  });

  for (const event of ['cpu-clock', 'context-switches'] as const) {
    it(`does not interrupt system calls (${event})`, async (t) => {
      output = join(program, `../waits-${process.pid}.json`);
      const target = { kind: 'command', argv: [program, 'waits', '4', output], stdout: 'inherit' } as const;
      try {
        const result = await recordDeferred({ target, event });
        const { calls, interrupted, partial } = JSON.parse(readFileSync(output, 'utf8'));
        t.diagnostic(`${calls} calls; ${JSON.stringify(result.counters.byReason)}`);
        assert.ok(calls > 100, `${calls} calls`);
        assert.deepEqual({ interrupted, partial }, { interrupted: 0, partial: 0 });
        const stacks = ofRecursion(result.rawStacks());
        assert.ok(stacks.length > 0, 'no stack of the recursion');
        assertWhole(stacks);
        assert.equal(result.counters.byReason.walk_lost, undefined, 'the program came back to user space each time');
      } finally {
        rmSync(output, { force: true });
      }
    });
  }

  it('walks the stacks of tasks that are still in a system call at the end', async (t) => {
    const child = spawn(program, ['long', '60'], { stdio: 'ignore' });
    try {
      let recovered = false;
      // The call takes a second or more, and may end right after sampling has.
      for (let round = 0; round < MOST_ROUNDS && !recovered; round++) {
        const result = await recordDeferred({ target: { kind: 'pid', pid: child.pid! }, durationMs: 1500 });
        const stacks = ofRecursion(result.rawStacks());
        t.diagnostic(JSON.stringify(result.counters.byReason));
        assertWhole(stacks);
        assert.equal(result.counters.byReason.walk_lost, undefined);
        recovered = stacks.some(({ outcome }) => outcome === 'recovered');
      }
      assert.ok(recovered, 'none was recovered');
    } finally {
      child.kill('SIGKILL');
    }
  });

  it('loses no sample of a process that is killed meanwhile', async (t) => {
    const child = spawn(program, ['long', '60'], { stdio: 'ignore' });
    try {
      const ended = once(child, 'close');
      const target = { kind: 'pid', pid: child.pid! } as const;
      const result = await recordDeferred({ target }, ({ phase, elapsedMs }) => {
        if (phase === 'recording' && elapsedMs > KILL_AFTER_MS) child.kill('SIGKILL');
      });
      await ended;
      t.diagnostic(JSON.stringify(result.counters.byReason));
      assert.equal(result.endedEarly, 'process_ended');
      // A signal that kills is delivered on the way to user space, where the task walks first.
      const stacks = ofRecursion(result.rawStacks());
      assert.ok(stacks.reduce((total, { count }) => total + count, 0) > 0);
      assertWhole(stacks);
      assert.equal(result.counters.byReason.walk_lost, undefined);
    } finally {
      child.kill('SIGKILL');
    }
  });
});
