// SPDX-License-Identifier: Apache-2.0
/** Walks that are finished from memory: what they find is the stack that a walk to the root finds, and is sent as the same. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { startRecursion, withProfiler } from '../../bench/walk.ts';
import type { StackCount } from '../../packages/agent/src/samples/aggregate.ts';
import { waitUntil } from '../cluster/wait-until.ts';

const skip = process.getuid?.() === 0 || process.env.CI === 'true' ? false : 'needs root';
/** More than a turn takes from memory, and no multiple of it. */
const DEPTH = 1000;
const SPLICED = 300;

function profile(strategy: 'loop' | 'tailCall', pids: readonly number[], checkpoints: boolean) {
  return withProfiler(strategy, pids, checkpoints, async (profiler) => {
    profiler.session.start({ event: 'cpu-clock', frequency: 499 });
    await waitUntil(`${SPLICED} samples`, () => {
      const { splicedWalks, stacksSent, byReason } = profiler.counters();
      return checkpoints ? splicedWalks >= SPLICED : stacksSent > 0 && (byReason.root_undefined_ra ?? 0) >= SPLICED;
    });
    await profiler.endSampling(10_000);
    return { counts: profiler.pipeline.take(), counters: profiler.counters() };
  });
}

const contents = ({ stack: { tgid, reason, user, kernel } }: StackCount) =>
  [tgid, reason, ...user, '', ...kernel].join();

describe('checkpoints', { skip, timeout: 300_000 }, () => {
  for (const strategy of ['tailCall', 'loop'] as const) {
    it(`a stack is the same whether walked or remembered, ${strategy}`, async (t) => {
      const { pids, stop } = await startRecursion(DEPTH);
      try {
        const { counts, counters } = await profile(strategy, pids, true);
        t.diagnostic(
          `${counts.length} stacks, sent ${counters.stacksSent} times; ${counters.splicedWalks} spliced walks`,
        );
        assert.equal(new Set(counts.map(contents)).size, counts.length, 'one stack has two hashes');
        // The program stays where it is, so that walks without memory find the same.
        const deep = (all: readonly StackCount[]) =>
          new Set(all.filter(({ stack }) => stack.user.length > DEPTH).map(contents));
        const walked = deep((await profile(strategy, pids, false)).counts);
        const remembered = deep(counts);
        assert.ok(
          [...remembered].some((stack) => walked.has(stack)),
          'no stack that both found',
        );
      } finally {
        await stop();
      }
    });
  }
});
