// SPDX-License-Identifier: Apache-2.0
/** Stacks that are deeper than they may be: both of their ends are those of the whole stack, and what is missing is counted. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { buildFixtures } from '../fixtures/build.ts';
import { recipes } from '../fixtures/recipes.ts';
import { compareWithTruth, type JudgedFrame } from './compare.ts';
import { judgedFrames } from './judge.ts';
import { observe } from './observe.ts';
import { strategiesHere } from './strategies.ts';

const skip = process.getuid?.() === 0 || process.env.CI === 'true' ? false : 'needs root';
const MAX_FRAMES = 100;
const DEPTH = 1000;
/** Stacks of which every frame is known. */
const NAMES = ['recursion', 'recursion-frame-pointers', 'recursion-clang', 'threads'];

for (const strategy of strategiesHere) {
  describe(`stacks of ${DEPTH} frames and more, of which ${MAX_FRAMES} are kept, ${strategy}`, {
    skip,
    timeout: 300_000,
  }, () => {
    it('have both ends, with the number of frames between them', async (t) => {
      const chosen = recipes.filter(({ name }) => NAMES.includes(name));
      assert.equal(chosen.length, NAMES.length);
      const directories = await buildFixtures(chosen);
      const cases = chosen.map((recipe) => ({ recipe, depth: DEPTH }));
      const options = { strategy, seconds: 60, frequency: 499, fixturesAlone: true, maxFrames: MAX_FRAMES };
      const { observed } = await observe(cases, directories, options);
      for (const one of observed) {
        const { recipe, stacks: truths } = one.fixture;
        let compared = 0;
        for (const stack of one.stacks.filter(({ outcome }) => outcome !== 'kernel_only')) {
          const truth = truths.find(({ tid }) => tid === stack.tid);
          if (!truth || stack.user.length < MAX_FRAMES) continue; // a thread without an account, which only waits
          const { elided } = stack;
          assert.deepEqual([stack.outcome, stack.reason], ['truncated', 'frame_limit'], recipe.name);
          assert.equal(stack.user.length, MAX_FRAMES);
          assert.equal(elided?.at, MAX_FRAMES / 2);
          // What is missing, by the account of the program: with it the stack is whole.
          const missing = Array.from({ length: elided.count }, (_, i): JudgedFrame => {
            const frame = elided.at + i;
            return { address: truth.returns[frame - 1], names: [truth.names[frame] ?? ''] };
          });
          const frames = judgedFrames(one, stack);
          const whole = [...frames.slice(0, elided.at), ...missing, ...frames.slice(elided.at)];
          assert.equal(compareWithTruth(whole, true, truth, recipe), undefined, recipe.name);
          compared += stack.count;
        }
        assert.ok(compared > 0, `${recipe.name}: no stack was compared`);
        t.diagnostic(`${recipe.name}: ${compared} samples`);
      }
    });
  });
}
