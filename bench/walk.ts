// SPDX-License-Identifier: Apache-2.0
/** What a walk costs in the kernel, by its own measure (bpf_stats), with every CPU busy in a recursion of one depth. */
import { cpus } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import { enableRunTimeStatistics } from '@plumbline/bpf';
import { buildFixtures } from '../e2e/fixtures/build.ts';
import { recipes } from '../e2e/fixtures/recipes.ts';
import { type RunningFixture, startFixture } from '../e2e/fixtures/start.ts';
import { silentLogger } from '../packages/agent/src/log.ts';
import { Profiler } from '../packages/agent/src/profiler.ts';
import { median, type Table } from './table.ts';

export interface WalkFigure {
  readonly nsPerSample: number;
  readonly framesPerSample: number;
  readonly samples: number;
  readonly complete: number;
}

export type WalkStrategy = 'tailCall' | 'loop';

/** Starts the recursion of a depth on each CPU. */
export async function startRecursion(
  depth: number,
): Promise<{ stop(): Promise<void>; readonly pids: readonly number[] }> {
  const recipe = recipes.find(({ name }) => name === 'recursion');
  if (!recipe) throw new Error('there is no fixture recursion');
  const directory = (await buildFixtures([recipe])).get('recursion');
  if (!directory) throw new Error('the fixture was not built');
  const running: RunningFixture[] = [];
  for (const _ of cpus()) running.push(await startFixture(recipe, directory, depth, 120));
  return {
    pids: running.map(({ pid }) => pid),
    async stop() {
      for (const fixture of running) await fixture.stop();
    },
  };
}

export async function measureWalk(
  strategy: WalkStrategy,
  pids: readonly number[],
  frequency: number,
  seconds: number,
): Promise<WalkFigure> {
  const selected = new Set(pids);
  const statistics = enableRunTimeStatistics();
  const profiler = new Profiler({
    strategy,
    defaultPolicy: 0,
    selectPolicy: (tgid) => (selected.has(tgid) ? 1 : 0),
    describe: () => ({}),
    log: silentLogger,
  });
  try {
    profiler.session.tables.setPolicy(1, { maxFrames: 4096, kernelStacks: true, keep: 1 });
    profiler.processes.scan(pids);
    profiler.processes.flush();
    while (profiler.executables.pending > 0) await delay(10);
    profiler.session.start({ event: 'cpu-clock', frequency });
    await delay(300); // the first samples send their stacks, and warm the caches
    const before = { run: profiler.session.runTime(), counters: profiler.counters() };
    await delay(seconds * 1e3);
    const after = { run: profiler.session.runTime(), counters: profiler.counters() };
    // Samples of other processes end after one lookup; their share of the time is small, their number is not.
    const skipped = difference(before, after, 'not_selected');
    const samples = after.counters.fired - before.counters.fired - skipped;
    return {
      samples,
      nsPerSample: (after.run.ns - before.run.ns) / Math.max(1, samples),
      framesPerSample: (after.counters.userFrames - before.counters.userFrames) / Math.max(1, samples),
      complete: difference(before, after, 'root_undefined_ra') + difference(before, after, 'root_entry'),
    };
  } finally {
    await profiler.close();
    statistics.close();
  }
}

type Reading = { readonly counters: { readonly byReason: Readonly<Record<string, number>> } };

function difference(before: Reading, after: Reading, reason: string): number {
  return (after.counters.byReason[reason] ?? 0) - (before.counters.byReason[reason] ?? 0);
}

export async function benchWalk(brief: boolean): Promise<Table> {
  const depths = [8, 32, 128, 1000, 4000];
  const strategies: readonly WalkStrategy[] = ['loop', 'tailCall'];
  const rounds = brief ? 1 : 5;
  const rows: string[][] = [];
  const base = new Map<string, { ns: number; frames: number }>();
  for (const depth of depths) {
    const load = await startRecursion(depth);
    try {
      const figures = new Map<WalkStrategy, WalkFigure[]>(strategies.map((strategy) => [strategy, []]));
      for (let round = 0; round < rounds; round++)
        for (const strategy of strategies)
          figures.get(strategy)?.push(await measureWalk(strategy, load.pids, 99, brief ? 2 : 4));
      for (const [strategy, of] of figures) {
        const ns = median(of.map(({ nsPerSample }) => nsPerSample));
        const frames = median(of.map(({ framesPerSample }) => framesPerSample));
        const first = base.get(strategy);
        if (!first) base.set(strategy, { ns, frames });
        const samples = of.reduce((sum, figure) => sum + figure.samples, 0);
        const complete = of.reduce((sum, figure) => sum + figure.complete, 0);
        rows.push([
          `${strategy}, depth ${depth}`,
          `${Math.round(Math.min(...of.map(({ nsPerSample }) => nsPerSample)))}`,
          `${Math.round(ns)}`,
          first ? ((ns - first.ns) / (frames - first.frames)).toFixed(1) : '',
          `${((100 * complete) / Math.max(1, samples)).toFixed(1)} %`,
        ]);
      }
    } finally {
      await load.stop();
    }
  }
  return {
    title: 'A walk in the kernel',
    command: 'make bench (case walk)',
    head: ['99 Hz, both CPUs busy', 'ns per sample, least', 'median', 'ns per frame beyond depth 8', 'complete'],
    rows,
    notes: [
      `C recursion without frame pointers, uneven frames. Run time as the kernel measures it, the kernel's part of a sample included; ${rounds} rounds, strategies alternating.`,
    ],
  };
}
