// SPDX-License-Identifier: Apache-2.0
/** Fixtures that run side by side while they are recorded. */
import { readdirSync } from 'node:fs';
import { setPriority } from 'node:os';
import { waitUntil } from '../cluster/wait-until.ts';
import type { Recipe } from '../fixtures/recipes.ts';
import { processorTime, type RunningFixture, startFixture } from '../fixtures/start.ts';
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
  /** At most; it ends when each fixture has had its turns on a processor. */
  readonly seconds: number;
  /** Hz. */
  readonly frequency: number;
  /** Record the fixtures alone; otherwise every process of the machine. */
  readonly fixturesAlone?: boolean;
  readonly maxFrames?: number;
  /** Processor time that each fixture gets while it is recorded, in nanoseconds; default: enough at 499 Hz. */
  readonly turn?: number;
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

/** Dozens of busy loops must leave the profiler its turn on a busy machine. */
const NICENESS = 5;

function renice({ pid, stacks }: RunningFixture): void {
  for (const each of new Set([pid, ...stacks.map((stack) => stack.pid)])) {
    for (const tid of readdirSync(`/proc/${each}/task`)) setPriority(Number(tid), NICENESS);
  }
}

/** Processor time that each fixture gets while it is recorded, in nanoseconds. */
const TURN = 30_000_000;
/** The same for those that change while they are recorded: longer than the change takes to become known. */
const SETTLING_TURN = 200_000_000;

function runtimeOf({ pid, stacks }: RunningFixture): number {
  const pids = [...new Set([pid, ...stacks.map((stack) => stack.pid)])];
  return pids.reduce((sum, each) => sum + processorTime(each), 0);
}

/** How many start at a time. */
const STARTING = 6;

/** Starts a batch, holds it still while the profiler prepares, and lets it run while it is recorded. */
export async function observe(
  batch: readonly Case[],
  directories: ReadonlyMap<string, string>,
  options: ObservationOptions,
): Promise<Observation> {
  const fixtures: RunningFixture[] = [];
  try {
    const queue = [...batch];
    const startAll = async () => {
      for (let next = queue.shift(); next; next = queue.shift()) {
        const fixture = await startFixture(next.recipe, directories.get(next.recipe.name)!, next.depth);
        fixtures.push(fixture);
        signal([fixture], 'SIGSTOP');
        renice(fixture);
      }
    };
    await Promise.all(Array.from({ length: STARTING }, startAll));
    const own = fixtures.flatMap(({ pid, stacks: truths }) => [pid, ...truths.map((truth) => truth.pid)]);
    const { summary, stacks } = await recordRaw({
      ...options,
      pid: options.fixturesAlone ? [...new Set(own)] : undefined,
      whileRecording: async () => {
        signal(fixtures, 'SIGCONT');
        await Promise.all(fixtures.filter(({ recipe }) => recipe.trigger).map((fixture) => fixture.trigger()));
        const turn = ({ recipe }: RunningFixture) =>
          options.turn ?? (recipe.expect.outcome === 'settling' ? SETTLING_TURN : TURN);
        const wanted = new Map(fixtures.map((fixture) => [fixture, runtimeOf(fixture) + turn(fixture)]));
        const hasRun = (fixture: RunningFixture) => runtimeOf(fixture) >= wanted.get(fixture)!;
        await waitUntil('each fixture to have run', () => fixtures.every(hasRun), { timeout: options.seconds * 1000 });
      },
      endsWithCallback: true,
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
