// SPDX-License-Identifier: Apache-2.0
/** Fixtures that run side by side while they are recorded. */
import type { Recipe } from '../fixtures/recipes.ts';
import { type RunningFixture, startFixture } from '../fixtures/start.ts';
import { type ExecutableMapping, executableMappings } from './mappings.ts';
import { type RecordedStack, type RecordedSummary, recordRaw, type Strategy } from './recording.ts';

export interface Case {
  readonly recipe: Recipe;
  readonly depth: number;
}

/** What there is to judge about one fixture; plain data. */
export interface Observed {
  readonly fixture: Pick<RunningFixture, 'depth' | 'imageName' | 'recipe' | 'stacks' | 'symbols'>;
  /** By process. */
  readonly mappings: ReadonlyMap<number, readonly ExecutableMapping[]>;
  readonly stacks: readonly RecordedStack[];
}

export interface Observation {
  readonly summary: RecordedSummary;
  readonly observed: readonly Observed[];
}

export interface ObservationOptions {
  readonly strategy: Strategy;
  readonly seconds: number;
  /** Hz. */
  readonly frequency: number;
}

function signal(fixtures: readonly RunningFixture[], name: NodeJS.Signals): void {
  for (const { pid, recipe, depth, stacks } of fixtures) {
    for (const each of new Set([pid, ...stacks.map((stack) => stack.pid)])) {
      try {
        process.kill(each, name);
      } catch (error) {
        throw new Error(`${recipe.name}, depth ${depth} ended meanwhile`, { cause: error });
      }
    }
  }
}

/** Starts a batch, holds it still while the profiler prepares, and lets it run while it is recorded. */
export async function observe(
  batch: readonly Case[],
  directories: ReadonlyMap<string, string>,
  options: ObservationOptions,
): Promise<Observation> {
  const fixtures: RunningFixture[] = [];
  try {
    for (const { recipe, depth } of batch) {
      const fixture = await startFixture(recipe, directories.get(recipe.name)!, depth);
      fixtures.push(fixture);
      signal([fixture], 'SIGSTOP');
    }
    const { summary, stacks } = await recordRaw({
      ...options,
      whileRecording: async () => {
        signal(fixtures, 'SIGCONT');
        await Promise.all(fixtures.filter(({ recipe }) => recipe.trigger).map((fixture) => fixture.trigger()));
      },
      afterRecording: () => signal(fixtures, 'SIGSTOP'),
      keep: ({ pid }) =>
        fixtures.some((fixture) => fixture.pid === pid || fixture.stacks.some((truth) => truth.pid === pid)),
    });
    const observed = fixtures.map(({ recipe, depth, symbols, imageName, pid: started, stacks: truths }) => {
      const pids = new Set([started, ...truths.map(({ pid }) => pid)]);
      return {
        fixture: { recipe, depth, symbols, imageName, stacks: truths },
        mappings: new Map(Array.from(pids, (pid) => [pid, executableMappings(pid)])),
        stacks: stacks.filter(({ pid }) => pids.has(pid)),
      };
    });
    return { summary, observed };
  } finally {
    await Promise.all(fixtures.map((fixture) => fixture.stop()));
  }
}
