// SPDX-License-Identifier: Apache-2.0
/** Every fixture, at every depth, by every strategy: what the profiler recorded against what the program says of itself. */
import { after, before, describe, it } from 'node:test';
import { buildFixtures } from '../fixtures/build.ts';
import { recipes } from '../fixtures/recipes.ts';
import { judge } from './judge.ts';
import { type Case, type Observed, observe } from './observe.ts';
import { strategiesHere } from './strategies.ts';

/** Fixtures that run side by side in one recording: enough to share its start, few enough to get their turns on a processor. */
const BATCH = 60;
const SECONDS = 60;
const FREQUENCY = 499;

const cases: Case[] = recipes.flatMap((recipe) => recipe.depths.map((depth) => ({ recipe, depth })));

for (const strategy of strategiesHere) {
  describe(`fixtures, ${strategy}`, { timeout: 600_000 }, () => {
    /** By name and depth; the error of the whole batch where it could not be recorded. */
    const observed = new Map<string, Observed | Error>();
    const keyOf = ({ recipe, depth }: Case) => `${recipe.name} ${depth}`;
    before(async () => {
      const directories = await buildFixtures();
      for (let first = 0; first < cases.length; first += BATCH) {
        const batch = cases.slice(first, first + BATCH);
        try {
          const options = { strategy, seconds: SECONDS, frequency: FREQUENCY, fixturesAlone: true };
          const observation = await observe(batch, directories, options);
          for (const one of observation.observed) observed.set(keyOf(one.fixture), one);
        } catch (error) {
          for (const one of batch) observed.set(keyOf(one), error as Error);
        }
      }
    });
    after(() => observed.clear());
    for (const { recipe, depth } of cases) {
      it(`${recipe.name}, depth ${depth}: ${recipe.about}`, (t) => {
        const one = observed.get(keyOf({ recipe, depth }));
        if (one === undefined || one instanceof Error) throw one ?? new Error('not observed');
        t.diagnostic(judge(one, strategy));
      });
    }
  });
}
