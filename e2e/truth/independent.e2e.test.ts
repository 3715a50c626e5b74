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

/** Where elfutils cannot be the reference, and why. The frames inside of such a place are still compared. */
interface Exception {
  readonly program: string;
  /** The reference's frame that its doubtful ones begin behind: by its mapping's path, or by the function's name. */
  readonly mapping?: RegExp;
  readonly name?: RegExp;
  readonly reason: string;
}

const EXCEPTIONS: readonly Exception[] = [
  { program: 'node', mapping: /^$/, reason: 'generated code has no unwind information: elfutils guesses' },
  {
    program: 'node',
    name: /^(Builtins_|v8_Default_embedded)/,
    reason: 'V8 built-ins have no unwind information: elfutils guesses',
  },
  { program: 'php', mapping: /^$/, reason: 'generated code has no unwind information: elfutils guesses' },
];

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

/** The beginning of the reference that is beyond doubt. */
function trusted(stack: UnwoundStack, mappings: readonly ExecutableMapping[], program: Program): UnwoundStack {
  const rules = EXCEPTIONS.filter((exception) => exception.program === program.name);
  const end = stack.frames.findIndex(({ address, name }) => {
    const path = mappingOf(mappings, address)?.path ?? '';
    return rules.some((rule) => rule.mapping?.test(path) || (name !== undefined && rule.name?.test(name)));
  });
  return end < 0 ? stack : { ...stack, frames: stack.frames.slice(0, end + 1), gaveUp: 'not trusted further' };
}

const isWhole = ({ outcome }: RecordedStack) => outcome === 'complete' || outcome === 'recovered';

/** What the recorded stacks of the thread have against the reference; undefined if one of them agrees. */
function disagreement(reference: UnwoundStack, recorded: readonly RecordedStack[]): string | undefined {
  const leaf = reference.frames[0]?.address;
  const candidates = recorded.filter(({ user }) => user[0]?.address === leaf);
  if (candidates.length === 0) return `no stack with the leaf 0x${leaf?.toString(16)} (${reference.frames[0]?.name})`;
  const problems = candidates.map((stack) => {
    const frames = stack.user.map(({ address, name }) => ({ address, names: name === undefined ? [] : [name] }));
    const wrong = compareWithUnwinder(frames, isWhole(stack), reference);
    if (wrong !== undefined || isWhole(stack)) return wrong;
    // Cut, and right as far as it goes: that is for the test of completeness, unless it goes nowhere.
    return stack.user.length > 1 ? undefined : `cut at its leaf: ${stack.reason}`;
  });
  return problems.includes(undefined)
    ? undefined
    : `${problems[0]} (${candidates[0].outcome}, ${candidates[0].reason})`;
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
        let threads = 0;
        for (const stop of stops) {
          for (const stack of stop.stacks.filter((one) => one.frames.length > 0)) {
            const reference = trusted(stack, stop.mappings, program);
            const recorded = stacks.filter(({ pid, tid }) => pid === stop.pid && tid === stack.tid);
            const problem = disagreement(reference, recorded);
            if (problem !== undefined) problems.push(`thread ${stack.tid}: ${problem}`);
            frames += reference.frames.length;
            threads++;
          }
        }
        t.diagnostic(`${stops.length} stops, ${threads} stacks, ${frames} frames equal`);
        assert.deepEqual(problems, []);
      } finally {
        await workload.stop();
      }
    });
  }
});
