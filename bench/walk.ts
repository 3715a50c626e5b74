// SPDX-License-Identifier: Apache-2.0
/** What a walk costs in the kernel, by its own measure (bpf_stats), with every CPU busy in a recursion of one depth. */
import { cpus } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import { enableRunTimeStatistics } from '@plumbline/bpf';
import { waitUntil } from '../e2e/cluster/wait-until.ts';
import { buildFixtures } from '../e2e/fixtures/build.ts';
import { recipes } from '../e2e/fixtures/recipes.ts';
import { type RunningFixture, startFixture } from '../e2e/fixtures/start.ts';
import { silentLogger } from '../packages/agent/src/log.ts';
import { Profiler } from '../packages/agent/src/profiler.ts';
import { lineChart } from './line-chart.ts';
import { median, type Table } from './table.ts';

export interface WalkFigure {
  /** Of the windows of time that were measured: the least, and the median. */
  readonly nsPerSample: number;
  readonly medianNs: number;
  /** Of it, in the interrupt; the rest is the task's (strategy deferred). */
  readonly interruptNsPerSample: number;
  readonly framesPerSample: number;
  readonly samples: number;
  readonly complete: number;
  readonly splicedFrames: number;
}

const FREQUENCY = 199;
const WINDOW_MS = 200;
/** Of a window that counts. */
const FEWEST_SAMPLES = 10;

/** A load ends by itself then, should nobody end it. */
const LONGEST_SECONDS = 1200;

export type WalkStrategy = 'tailCall' | 'loop' | 'deferred';

/** Starts the recursion of a depth on each CPU. */
export async function startRecursion(
  depth: number,
  name: 'recursion' | 'recursion-small-frames' = 'recursion',
): Promise<{ stop(): Promise<void>; readonly pids: readonly number[] }> {
  const recipe = recipes.find((candidate) => candidate.name === name);
  if (!recipe) throw new Error(`there is no fixture ${name}`);
  const directory = (await buildFixtures([recipe])).get(name);
  if (!directory) throw new Error('the fixture was not built');
  const running: RunningFixture[] = [];
  for (const _ of cpus()) running.push(await startFixture(recipe, directory, depth, LONGEST_SECONDS));
  return {
    pids: running.map(({ pid }) => pid),
    async stop() {
      for (const fixture of running) await fixture.stop();
    },
  };
}

/** Runs `use` with a profiler of these processes, ready to be started, and closes it. */
export async function withProfiler<T>(
  strategy: WalkStrategy,
  pids: readonly number[],
  checkpoints: boolean,
  use: (profiler: Profiler) => Promise<T>,
): Promise<T> {
  const selected = new Set(pids);
  const profiler = new Profiler({
    strategy,
    checkpoints,
    defaultPolicy: 0,
    selectPolicy: (tgid) => (selected.has(tgid) ? 1 : 0),
    describe: () => ({}),
    log: silentLogger,
  });
  try {
    profiler.session.tables.setPolicy(1, { maxFrames: 4096, kernelStacks: true, keep: 1 });
    profiler.processes.scan(pids);
    profiler.processes.flush();
    await waitUntil('the tables to be built', () => profiler.executables.pending === 0, { interval: 10 });
    return await use(profiler);
  } finally {
    await profiler.close();
  }
}

export async function measureWalk(
  strategy: WalkStrategy,
  pids: readonly number[],
  frequency: number,
  seconds: number,
  checkpoints = true,
): Promise<WalkFigure> {
  const statistics = enableRunTimeStatistics();
  try {
    return await withProfiler(strategy, pids, checkpoints, async (profiler) => {
      profiler.session.start({ event: 'cpu-clock', frequency });
      await delay(300); // the first samples send their stacks, and warm the caches
      const read = () => {
        const { session } = profiler;
        return { run: session.runTime(), inTasks: session.deferred().ns, counters: profiler.counters() };
      };
      const readings = [read()];
      // Short windows: some of them fall between what else the machine does.
      while (readings.length <= (seconds * 1e3) / WINDOW_MS) {
        await delay(WINDOW_MS);
        readings.push(read());
      }
      // Samples of other processes end after one lookup; their share of the time is small, their number is not.
      const samplesBetween = (from: Reading, to: Reading) =>
        to.counters.fired - from.counters.fired - difference(from, to, 'not_selected');
      const windows = readings
        .slice(1)
        .map((to, i) => ({ ns: to.run.ns - readings[i].run.ns, samples: samplesBetween(readings[i], to) }))
        .filter(({ samples }) => samples >= FEWEST_SAMPLES)
        .map(({ ns, samples }) => ns / samples);
      const [before, after] = [readings[0], readings[readings.length - 1]];
      const samples = samplesBetween(before, after);
      const ns = after.run.ns - before.run.ns;
      if (windows.length === 0) windows.push(ns / Math.max(1, samples));
      return {
        samples,
        nsPerSample: Math.min(...windows),
        medianNs: median(windows),
        interruptNsPerSample: (ns - (after.inTasks - before.inTasks)) / Math.max(1, samples),
        framesPerSample: (after.counters.userFrames - before.counters.userFrames) / Math.max(1, samples),
        splicedFrames: (after.counters.splicedFrames - before.counters.splicedFrames) / Math.max(1, samples),
        complete: difference(before, after, 'root_undefined_ra') + difference(before, after, 'root_entry'),
      };
    });
  } finally {
    statistics.close();
  }
}

type Reading = { readonly counters: { readonly fired: number; readonly byReason: Readonly<Record<string, number>> } };

function difference(before: Reading, after: Reading, reason: string): number {
  return (after.counters.byReason[reason] ?? 0) - (before.counters.byReason[reason] ?? 0);
}

/** A strategy, with and without memory of the last walk. */
interface Variant {
  readonly strategy: WalkStrategy;
  readonly checkpoints: boolean;
  readonly color: string;
}

const VARIANTS: readonly Variant[] = [
  { strategy: 'loop', checkpoints: false, color: '#1f77b4' },
  { strategy: 'loop', checkpoints: true, color: '#1f77b4' },
  { strategy: 'deferred', checkpoints: false, color: '#2ca02c' },
  { strategy: 'tailCall', checkpoints: false, color: '#d95f02' },
  { strategy: 'tailCall', checkpoints: true, color: '#d95f02' },
];
/** Frames of a stack. */
const SIZES = [16, 64, 256, 1024, 4096];
/** What a stack of the fixture has besides the recursion: leaf, main, and what calls main. */
const OTHER_FRAMES = 5;

const nameOf = ({ strategy, checkpoints }: Variant) => `${strategy}${checkpoints ? ', checkpoints' : ''}`;

export async function benchWalk(brief: boolean): Promise<Table> {
  const rounds = brief ? 1 : 5;
  const seconds = brief ? 2 : 3;
  const rows: string[][] = [];
  const curves = new Map(VARIANTS.map((variant): [Variant, [number, number][]] => [variant, []]));
  for (const size of SIZES) {
    const load = await startRecursion(size - OTHER_FRAMES, 'recursion-small-frames');
    try {
      const figures = new Map(VARIANTS.map((variant): [Variant, WalkFigure[]] => [variant, []]));
      for (let round = 0; round < rounds; round++)
        for (const [{ strategy, checkpoints }, of] of figures)
          of.push(await measureWalk(strategy, load.pids, FREQUENCY, seconds, checkpoints));
      for (const [variant, of] of figures) {
        const middle = (figure: (one: WalkFigure) => number) => median(of.map(figure));
        const ns = Math.min(...of.map(({ nsPerSample }) => nsPerSample));
        const frames = middle(({ framesPerSample }) => framesPerSample);
        const curve = curves.get(variant) as [number, number][];
        curve.push([size, ns]);
        const samples = of.reduce((sum, figure) => sum + figure.samples, 0);
        const complete = of.reduce((sum, figure) => sum + figure.complete, 0);
        rows.push([
          `${nameOf(variant)}, ${size} frames`,
          `${Math.round(ns)}`,
          `${Math.round(middle(({ medianNs }) => medianNs))}`,
          `${Math.round(middle(({ interruptNsPerSample }) => interruptNsPerSample))}`,
          curve.length > 1 ? ((ns - curve[0][1]) / (frames - SIZES[0])).toFixed(1) : '',
          `${Math.round(middle(({ splicedFrames }) => splicedFrames))}`,
          `${((100 * complete) / Math.max(1, samples)).toFixed(1)} %`,
        ]);
      }
    } finally {
      await load.stop();
    }
  }
  const growth = (strategy: WalkStrategy, checkpoints: boolean) => {
    const [, curve = []] =
      [...curves].find(([one]) => one.strategy === strategy && one.checkpoints === checkpoints) ?? [];
    return (curve.at(-1)?.[1] ?? Number.NaN) - (curve[0]?.[1] ?? Number.NaN);
  };
  const shares = (['loop', 'tailCall'] as const).map(
    (strategy) => `${Math.round((100 * growth(strategy, true)) / growth(strategy, false))} % (${strategy})`,
  );
  return {
    title: 'A walk in the kernel',
    command: 'make bench (case walk)',
    head: [
      `${FREQUENCY} Hz, both CPUs busy`,
      'ns per sample, least',
      'median',
      'in the interrupt, mean',
      `ns per frame beyond ${SIZES[0]}`,
      'frames from memory',
      'complete',
    ],
    rows,
    notes: [
      `C recursion without frame pointers, frames of some 50 bytes, which does not change meanwhile. Run time as the kernel measures it, the kernel's part of a sample included; ${rounds} rounds, variants alternating, in windows of ${WINDOW_MS} ms.`,
      `What a stack of ${SIZES.at(-1)} frames costs beyond one of ${SIZES[0]} is, with checkpoints, ${shares.join(' and ')} of what it is without.`,
      'Strategy deferred walks 32 frames in the interrupt; where there are more it asks the task. To ask is an interrupt of the CPU to itself, whose cost is the same at any depth; in a virtual machine it leaves for the hypervisor, here for 3.4 µs at least (as cpuid does), which is most of it.',
    ],
    picture: {
      file: 'walk.svg',
      about: 'Nanoseconds per sample by frames of the stack',
      svg: lineChart({
        title: 'A walk in the kernel: least time of a sample',
        x: 'frames of the stack',
        y: 'ns per sample',
        series: [...curves].map(([variant, points]) => ({
          ...{ name: nameOf(variant), color: variant.color, dashed: variant.checkpoints, points },
        })),
      }),
    },
  };
}
