// SPDX-License-Identifier: Apache-2.0
/**
 * Distribution programs, stopped at moments that nobody chose, compared with elfutils' unwinder. A process that is stopped is
 * scheduled out; the event `context-switches` samples it then and there, with exactly the registers that elfutils sees. So
 * every frame has to be equal, the leaf's address too, on any program.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { waitUntil } from '../cluster/wait-until.ts';
import { programs } from '../programs/programs.ts';
import { missingFor, type Program, startWorkload } from '../programs/workload.ts';
import { compareWithUnwinder } from './compare.ts';
import { euStack, type UnwoundStack } from './eu-stack.ts';
import { type ExecutableMapping, executableMappings, mappingOf } from './mappings.ts';
import { type RecordedStack, recordRaw } from './recording.ts';

/** How often each program is stopped. */
const STOPS = 8;
/** A process that has not run for a moment is not worth stopping. */
const PAUSE = () => 20 + Math.random() * 60;

/** Where elfutils cannot be the reference, and why. What lies inside of such a place is still compared. */
interface Exception {
  readonly program: string;
  readonly reason: string;
  /** The reference is not trusted beyond a frame whose mapping (its path) or function is like this, or that has no name. */
  readonly untrustedBeyond?: { readonly mapping?: RegExp; readonly name?: RegExp; readonly nameless?: true };
  /** The reference misses the caller of the leaf where that has not set up a frame. */
  readonly missesCallerOfLeaf?: boolean;
}

const EXCEPTIONS: readonly Exception[] = [
  {
    program: 'node',
    reason: 'generated code and V8’s built-ins have no unwind information: elfutils guesses',
    untrustedBeyond: { mapping: /^$/, name: /^(Builtins_|v8_Default_embedded)/, nameless: true },
  },
  {
    program: 'go-compile',
    reason:
      'Go’s own tools have no DWARF: elfutils goes by frame pointers, which functions without a frame do not keep, and a new thread has its parent’s',
    missesCallerOfLeaf: true,
    untrustedBeyond: { name: /^runtime\.(sigtramp|clone)/ },
  },
];

/** A large file that a process brings along takes a while: what is sampled meanwhile says so and is not compared. */
const SETTLING = ['unwind_info_pending', 'process_unknown', 'no_mapping'];

interface Stop {
  readonly pid: number;
  readonly stacks: readonly UnwoundStack[];
  readonly mappings: readonly ExecutableMapping[];
}

function isStopped(pid: number): boolean {
  return readdirSync(`/proc/${pid}/task`).every((tid) => {
    const stat = readFileSync(`/proc/${pid}/task/${tid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).startsWith('T');
  });
}

/** Stops one process of the program and asks elfutils for its stacks; undefined when it ended meanwhile. */
async function stopOnce(pid: number): Promise<Stop | undefined> {
  try {
    process.kill(pid, 'SIGSTOP');
    try {
      await waitUntil(`process ${pid} to stop`, () => isStopped(pid), { timeout: 5_000, interval: 1 });
      return { pid, stacks: euStack(pid), mappings: executableMappings(pid) };
    } finally {
      process.kill(pid, 'SIGCONT');
    }
  } catch {
    return undefined;
  }
}

/**
 * A thread that has not returned from the clone that made it has no caller: what lies on its new stack is none. elfutils goes
 * by the rule of the function all the same, finds one word there, and ends. Its parent has callers down to its root.
 */
const isNewborn = ({ frames }: UnwoundStack) => frames.length === 2 && /^_*clone3?$/.test(frames[0].name ?? '');

/** The beginning of the reference that is beyond doubt. */
function trusted(stack: UnwoundStack, mappings: readonly ExecutableMapping[], program: Program): UnwoundStack {
  if (isNewborn(stack)) return { ...stack, frames: stack.frames.slice(0, 1) };
  const rule = EXCEPTIONS.find((exception) => exception.program === program.name)?.untrustedBeyond;
  if (!rule) return stack;
  const end = stack.frames.findIndex(({ address, name }) => {
    const path = mappingOf(mappings, address)?.path ?? '';
    return rule.mapping?.test(path) || (name === undefined ? rule.nameless : rule.name?.test(name));
  });
  return end < 0 ? stack : { ...stack, frames: stack.frames.slice(0, end + 1), gaveUp: 'not trusted further' };
}

const isWhole = ({ outcome }: RecordedStack) => outcome === 'complete' || outcome === 'recovered';

/** What the recorded stacks of the thread have against the reference: undefined if one of them agrees. */
function disagreement(
  reference: UnwoundStack,
  recorded: readonly RecordedStack[],
  program: Program,
): string | undefined {
  const leaf = reference.frames[0]?.address;
  const candidates = recorded.filter(({ user }) => user[0]?.address === leaf);
  if (candidates.length === 0) {
    const leaves = recorded.map(({ user, reason }) => `0x${user[0]?.address.toString(16)} (${reason})`);
    return `no stack with the leaf 0x${leaf?.toString(16)} (${reference.frames[0]?.name}) among ${leaves}`;
  }
  const misses = EXCEPTIONS.some((exception) => exception.program === program.name && exception.missesCallerOfLeaf);
  const problems = candidates.map((stack) => {
    const frames = stack.user.map(({ address, name }) => ({ address, names: name === undefined ? [] : [name] }));
    const wrong = compareWithUnwinder(frames, isWhole(stack), reference);
    if (wrong === undefined || !misses) return wrong;
    return compareWithUnwinder(frames.toSpliced(1, 1), isWhole(stack), reference);
  });
  return problems.includes(undefined)
    ? undefined
    : `${problems[0]} (${candidates[0].outcome}, ${candidates[0].reason})`;
}

/** Whether all that was recorded of the thread at that address is cut for want of a table that is being built. */
function isSettling(reference: UnwoundStack, recorded: readonly RecordedStack[]): boolean {
  const candidates = recorded.filter(({ user }) => user[0]?.address === reference.frames[0].address);
  return candidates.length > 0 && candidates.every(({ reason }) => SETTLING.includes(reason));
}

describe('distribution programs agree with elfutils', { timeout: 600_000 }, () => {
  for (const program of programs) {
    const missing = missingFor(program);
    const skip = missing.length > 0 && process.env.CI !== 'true' ? `not installed: ${missing.join(', ')}` : false;
    it(`${program.name}: ${program.about}`, { skip }, async (t) => {
      assert.deepEqual(missing, []);
      const workload = await startWorkload(program);
      const stops: Stop[] = [];
      try {
        await workload.go();
        const { stacks } = await recordRaw({
          pid: workload.pid,
          strategy: 'loop',
          event: 'context-switches',
          seconds: 60,
          endsWithCallback: true,
          whileRecording: async () => {
            await waitUntil(`${program.name} to be stopped ${STOPS} times`, async () => {
              await delay(PAUSE());
              const processes = workload.processes();
              const pid = processes[Math.floor(Math.random() * processes.length)];
              const stop = pid === undefined ? undefined : await stopOnce(pid);
              if (stop) stops.push(stop);
              return stops.length >= STOPS;
            });
          },
          keep: ({ pid }) => stops.some((stop) => stop.pid === pid),
        });
        const problems: string[] = [];
        let frames = 0;
        let compared = 0;
        let settling = 0;
        for (const stop of stops) {
          for (const stack of stop.stacks.filter((one) => one.frames.length > 0)) {
            const reference = trusted(stack, stop.mappings, program);
            const recorded = stacks.filter(({ pid, tid }) => pid === stop.pid && tid === stack.tid);
            const problem = disagreement(reference, recorded, program);
            if (problem !== undefined) problems.push(`thread ${stack.tid} of ${stop.pid}: ${problem}`);
            else if (isSettling(reference, recorded)) settling++;
            else compared++;
            frames += problem === undefined ? reference.frames.length : 0;
          }
        }
        t.diagnostic(`${stops.length} stops, ${compared} stacks, ${frames} frames equal; ${settling} of what was new`);
        assert.deepEqual(problems, []);
        assert.ok(compared >= settling, `${compared} stacks compared, ${settling} cut while new`);
      } finally {
        await workload.stop();
      }
    });
  }
});
