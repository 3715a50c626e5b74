// SPDX-License-Identifier: Apache-2.0
/**
 * Threads that have not run yet: nothing called their first frame, which is the one that made the system call, and what lies
 * beyond on their stack is no return address.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { recordRaw } from '../truth/recording.ts';
import { strategiesHere } from '../truth/strategies.ts';

const skip = process.getuid?.() === 0 || process.env.CI === 'true' ? false : 'needs root';
const SOURCE = resolve(import.meta.dirname, '../fixtures/src/newborn.c');
const MOST_ROUNDS = 8;

describe('threads that have not run yet', { skip, timeout: 300_000 }, () => {
  const directory = mkdtempSync(join(tmpdir(), 'plumbline-newborn-'));
  const program = join(directory, 'newborn');
  before(() => execFileSync('gcc', ['-O2', '-pthread', '-o', program, SOURCE]));
  after(() => rmSync(directory, { recursive: true, force: true }));

  for (const strategy of strategiesHere) {
    it(`end at the frame that made them, ${strategy}`, async (t) => {
      const child = spawn(program, { stdio: 'ignore' });
      try {
        let born = 0;
        let cut = 0;
        let samples = 0;
        for (let round = 0; round < MOST_ROUNDS && (born < 20 || samples < 2000); round++) {
          const { stacks } = await recordRaw({ pid: child.pid, strategy, seconds: 2, frequency: 4999 });
          for (const { comm, outcome, reason, user, count } of stacks) {
            if (comm !== 'newborn' || outcome === 'kernel_only') continue;
            samples += count;
            if (reason === 'root_entry' && user.length === 1 && user[0].name === 'clone3') born += count;
            // Other reasons are those of processes that the profiler does not know yet.
            if (['zero_ra', 'read_fault', 'no_mapping', 'bad_frame'].includes(reason)) cut += count;
          }
        }
        t.diagnostic(`${samples} samples, ${born} of threads that have not run, ${cut} cut`);
        assert.ok(born >= 20, `only ${born} samples of ${samples} of threads that have not run`);
        assert.ok(cut * 500 <= samples, `${cut} of ${samples} cut`);
      } finally {
        child.kill('SIGKILL');
      }
    });
  }
});
