// SPDX-License-Identifier: Apache-2.0
/** Each workload runs, keeps its processor busy, and leaves nothing behind. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { waitUntil } from '../cluster/wait-until.ts';
import { programs } from './programs.ts';
import { descendants, isRunning, missingFor, startWorkload } from './workload.ts';

/** User time of a process, in clock ticks. */
function userTicks(pid: number): number {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[11]);
  } catch {
    return 0; // It ended meanwhile.
  }
}

describe('programs as workloads', { concurrency: 2, timeout: 300_000 }, () => {
  for (const program of programs) {
    const missing = missingFor(program);
    const skip = missing.length > 0 && process.env.CI !== 'true' ? `not installed: ${missing.join(', ')}` : false;
    it(`${program.name}: ${program.about}`, { skip }, async () => {
      assert.deepEqual(missing, []);
      const workload = await startWorkload(program);
      let seen: number[] = [];
      try {
        assert.deepEqual(workload.processes(), [], 'nothing of it runs before go()');
        await workload.go();
        await waitUntil(`${program.comm} to use its processor`, () => {
          seen = workload.processes();
          return seen.some((pid) => userTicks(pid) > 0);
        });
      } finally {
        await workload.stop();
      }
      assert.deepEqual(descendants(workload.pid), []);
      assert.ok(!seen.some(isRunning), 'processes left behind');
    });
  }
});
