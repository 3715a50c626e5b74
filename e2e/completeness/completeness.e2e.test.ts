// SPDX-License-Identifier: Apache-2.0
/**
 * Real programs under the strategy `loop`: of the samples with a user stack at least 99.9 % reach a verified root, and no frame
 * of any of them is one that no call instruction leads to. What is missed while a process or a library of it is new has
 * reasons of its own and is counted apart: most samples of even the shortest-lived process are whole.
 */
import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { waitUntil } from '../cluster/wait-until.ts';
import { processorTime } from '../fixtures/start.ts';
import { programs } from '../programs/programs.ts';
import { missingFor, type Program, startWorkload, type Workload } from '../programs/workload.ts';
import { closeFiles, withoutCallSite } from '../truth/call-sites.ts';
import { type RecordedStack, type Recording, recordRaw } from '../truth/recording.ts';

/** Processor time that a program gets while it is recorded, in nanoseconds, and the longest that this may take. */
const TURN = 2_000_000_000;
const SECONDS = 90;
const FREQUENCY = 1499;
/** Fewer say nothing about a thousandth. */
const FEWEST_SAMPLES = 2000;
const MOST_ROUNDS = 8;

/** Reasons that end by themselves once the profiler knows a new process or library. */
const SETTLING = ['process_unknown', 'no_mapping', 'unwind_info_pending'];

const hex = (value: bigint | undefined) => (value === undefined ? '?' : `0x${value.toString(16)}`);

function countOf(stacks: readonly RecordedStack[]): number {
  return stacks.reduce((sum, { count }) => sum + count, 0);
}

/** What was cut, most frequent first: reason, failing address, the last frames. */
function describeCuts(cut: readonly RecordedStack[]): string {
  const groups = new Map<string, number>();
  for (const { reason, user, count } of cut) {
    const last = user
      .slice(-2)
      .map(({ name, file, fileAddress }) => `${name ?? '?'} (${file ?? 'no file'} ${hex(fileAddress)})`);
    const key = `${reason} after ${last.join(' < ') || 'no frame'}`;
    groups.set(key, (groups.get(key) ?? 0) + count);
  }
  const sorted = [...groups].sort(([, a], [, b]) => b - a);
  return sorted
    .slice(0, 12)
    .map(([key, count]) => `${count} × ${key}`)
    .join('\n  ');
}

/** Waits until the processes of the program have had their time, also those that ended meanwhile. */
async function runFor(workload: Workload, turn: number): Promise<void> {
  const times = new Map<number, number>();
  await waitUntil(
    `${workload.program.name} to have run`,
    () => {
      for (const pid of workload.processes()) {
        const time = processorTime(pid);
        if (Number.isFinite(time)) times.set(pid, time);
      }
      return [...times.values()].reduce((sum, time) => sum + time, 0) >= turn;
    },
    { timeout: SECONDS * 1000, interval: 20 },
  );
}

async function record(program: Program): Promise<Recording> {
  const workload = await startWorkload(program);
  try {
    return await recordRaw({
      pid: workload.pid,
      strategy: 'loop',
      seconds: SECONDS,
      frequency: FREQUENCY,
      whileRecording: async () => {
        await workload.go();
        await runFor(workload, TURN);
      },
      endsWithCallback: true,
      keep: ({ comm }) => comm === program.comm,
    });
  } finally {
    await workload.stop();
  }
}

describe('completeness of real programs', { timeout: 1_200_000 }, () => {
  after(closeFiles);
  for (const program of programs) {
    const missing = missingFor(program);
    const skip = missing.length > 0 && process.env.CI !== 'true' ? `not installed: ${missing.join(', ')}` : false;
    it(`${program.name}: ${program.about}`, { skip }, async (t) => {
      assert.deepEqual(missing, []);
      // On a machine that has other things to do, one recording may not be enough to judge by.
      const user: RecordedStack[] = [];
      for (let round = 0; round < MOST_ROUNDS && countOf(user) < FEWEST_SAMPLES; round++) {
        const { stacks } = await record(program);
        user.push(...stacks.filter(({ outcome }) => outcome !== 'kernel_only' && outcome !== 'filtered'));
      }
      const cut = user.filter(({ outcome }) => outcome === 'truncated');
      const settling = cut.filter(({ reason }) => SETTLING.includes(reason));
      const others = cut.filter(({ reason }) => !SETTLING.includes(reason));
      const [samples, unsettled, missed] = [countOf(user), countOf(settling), countOf(others)];
      const deepest = Math.max(...user.map((stack) => stack.user.length));
      t.diagnostic(`${samples} samples, deepest ${deepest}, ${missed} cut, ${unsettled} of what was new`);
      for (const stack of user) {
        const alien = withoutCallSite(stack.user);
        assert.equal(
          alien,
          undefined,
          `no call before ${hex(alien?.address)}: ${alien?.name} (${alien?.file} ${hex(alien?.fileAddress)})`,
        );
      }
      assert.ok(missed * 1000 <= samples - unsettled, `${missed} of ${samples} cut:\n  ${describeCuts(others)}`);
      assert.ok(unsettled * 2 <= samples, `${unsettled} of ${samples} cut while new:\n  ${describeCuts(settling)}`);
      assert.ok(samples >= FEWEST_SAMPLES, `only ${samples} samples`);
    });
  }
});
