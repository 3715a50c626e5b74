// SPDX-License-Identifier: Apache-2.0
/** A stack that goes by several paths through the same memory: none is ever seen with the outer part of another. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { buildFixtures } from '../fixtures/build.ts';
import { stackReuse } from '../fixtures/recipes.ts';
import { compareWithTruth } from './compare.ts';
import { judgedFrames } from './judge.ts';
import { observe } from './observe.ts';

const skip = process.getuid?.() === 0 || process.env.CI === 'true' ? false : 'needs root';
/** Samples are to fall into each path after each other path. */
const TURN = 2_000_000_000;

for (const strategy of ['tailCall', 'loop'] as const) {
  describe(`paths that agree at both ends, ${strategy}`, { skip, timeout: 300_000 }, () => {
    it('are told apart', async (t) => {
      const directories = await buildFixtures([stackReuse]);
      const cases = [{ recipe: stackReuse, depth: stackReuse.depths[0] }];
      const options = { strategy, seconds: 120, frequency: 997, fixturesAlone: true, turn: TURN };
      const {
        observed: [one],
      } = await observe(cases, directories, options);
      const seen = new Map<string, number>();
      let spliced = 0;
      for (const stack of one.stacks.filter(({ outcome }) => outcome !== 'kernel_only')) {
        assert.equal(stack.outcome, 'complete', stack.reason);
        const frames = judgedFrames(one, stack);
        const truth = one.fixture.stacks.find(({ names }) => frames.some((frame) => frame.names.includes(names[0]!)));
        if (!truth) continue; // on its way to a leaf, or back
        // A leaf's frame is not there yet, or is not any more, where its caller's address is on top.
        const path = truth.names[0]!;
        const from = frames.findIndex(({ names }) => names.includes(path));
        assert.equal(compareWithTruth(frames.slice(from), true, truth, stackReuse), undefined, path);
        seen.set(path, (seen.get(path) ?? 0) + stack.count);
        if ((stack.spliced ?? 0) > 0) spliced += stack.count;
      }
      t.diagnostic(
        `${[...seen].map(([path, count]) => `${path} ${count}`).join(', ')}; ${spliced} with a spliced part`,
      );
      assert.deepEqual([...seen.keys()].sort(), one.fixture.stacks.map(({ names }) => names[0]).sort());
      assert.ok(spliced > 0, 'no walk was finished from memory');
    });
  });
}
