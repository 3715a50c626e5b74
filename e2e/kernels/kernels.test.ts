// SPDX-License-Identifier: Apache-2.0
/**
 * The profiler on Debian's kernels, booted in qemu: what doctor finds, and fixtures of all kinds by every strategy, frame by
 * frame. Prints a table; with PLUMBLINE_WRITE_KERNELS=1 it writes last-run.json, which docs/kernel-support.md is made from.
 * PLUMBLINE_KERNELS names the series to boot, e.g. `5.10,7.2`; default: all.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { FEATURES } from '@plumbline/bpf';
import { buildFixtures } from '../fixtures/build.ts';
import { recipes } from '../fixtures/recipes.ts';
import { judge } from '../truth/judge.ts';
import type { Strategy } from '../truth/recording.ts';
import { writeInitramfs } from './initramfs.ts';
import { kernelImage } from './kernel-image.ts';
import { documentedFeatures, KERNELS, type Kernel } from './kernels.ts';
import { type KernelRun, LAST_RUN, type LastRun, type StrategyRun, tableOf } from './last-run.ts';
import { boot, QEMU } from './qemu.ts';
import type { Report } from './report.ts';

/** One of each kind; emulated processors leave no time for all. */
const CASES: readonly (readonly [fixture: string, ...depths: number[]])[] = [
  ['recursion', 3, 500, 4000],
  ['recursion-frame-pointers', 100],
  ['recursion-static-pie', 100],
  ['recursion-musl-static', 100],
  ['realign', 100],
  ['asm-rax', 100],
  ['signal-alternate', 100],
  ['threads', 100],
  ['plt-ibt', 100],
  ['vfork', 100],
  ['paged', 1000],
  ['virtual', 1000],
  ['exec', 100],
  ['compat-32bit', 3],
];
const SECONDS = 150;
const TURN_MS = 200;
const FREQUENCY = 49;
const SHORT_LIVED = { fixture: 'recursion', depth: 30, processes: 20, lifetimeMs: 200 };
/** Of one kernel: several times what an idle machine takes. */
const GUEST_TIMEOUT = 900_000;
/** Guests at a time: each waits for one thread of its own most of the time. */
const GUESTS = 2;
/** Short-lived processes: the share of samples whose process is not known. */
const MOST_UNKNOWN = 0.05;

interface Diagnosis {
  readonly works: boolean;
  readonly depth: number;
  readonly strategy: {
    readonly loaded: boolean;
    readonly name?: string;
    readonly selfTest?: { readonly framesPerProgram?: number };
  };
  readonly checks: readonly {
    readonly group: string;
    readonly name: string;
    readonly status: string;
    readonly detail: string;
  }[];
}

type Of<K extends Report['kind']> = Extract<Report, { kind: K }>;

/** Strategies of any kernel; each guest tries all, so that a refusal is seen too. */
const strategies = [...new Set(KERNELS.flatMap((kernel) => kernel.strategies))];
const wantedKernels = process.env.PLUMBLINE_KERNELS?.split(',');
const kernels = KERNELS.filter(({ series }) => wantedKernels?.includes(series) ?? true);
const cases = CASES.flatMap(([fixture, ...depths]) => depths.map((depth) => ({ fixture, depth })));
const missing = spawnSync(QEMU, ['--version']).error === undefined ? undefined : `${QEMU} is not installed`;
const skip = process.env.CI === 'true' ? false : (missing ?? false);

describe('kernels', { skip }, () => {
  const directory = mkdtempSync(join(tmpdir(), 'plumbline-kernels-'));
  const initramfs = join(directory, 'initramfs.cpio');
  const runs: KernelRun[] = [];
  const boots = new Map(kernels.map((kernel) => [kernel, Promise.withResolvers<readonly Report[]>()]));

  before(async () => {
    const wanted = recipes.filter(({ name }) => CASES.some(([fixture]) => fixture === name));
    assert.equal(wanted.length, CASES.length, 'a fixture of the matrix does not exist');
    const directories = Object.fromEntries(await buildFixtures(wanted));
    const plan = {
      strategies,
      cases,
      directories,
      seconds: SECONDS,
      turnMs: TURN_MS,
      frequency: FREQUENCY,
      shortLived: SHORT_LIVED,
    };
    await writeInitramfs(initramfs, plan);
    const queue = [...kernels];
    for (let i = 0; i < GUESTS; i++) void bootAll(queue, boots, initramfs);
  });

  after(() => {
    rmSync(directory, { recursive: true, force: true });
    if (runs.length === 0) return;
    const lastRun: LastRun = { kernels: runs };
    console.log(`\n${tableOf(lastRun)}\n`);
    if (process.env.PLUMBLINE_WRITE_KERNELS === '1' && runs.length === KERNELS.length) {
      writeFileSync(LAST_RUN, `${JSON.stringify(lastRun, null, 2)}\n`);
    }
  });

  for (const kernel of kernels)
    describe(`Linux ${kernel.series} (${kernel.suite})`, () => matrixOf(kernel, boots.get(kernel)!.promise, runs));
});

/** Boots one kernel after the other until the queue is empty. */
async function bootAll(
  queue: Kernel[],
  boots: ReadonlyMap<Kernel, PromiseWithResolvers<readonly Report[]>>,
  initramfs: string,
): Promise<void> {
  for (let kernel = queue.shift(); kernel; kernel = queue.shift()) {
    const { promise, resolve, reject } = boots.get(kernel)!;
    promise.catch(() => {}); // whoever waits for it is told
    try {
      resolve(await boot({ kernel: await kernelImage(kernel), initramfs, timeoutMs: GUEST_TIMEOUT }));
    } catch (error) {
      reject(error);
    }
  }
}

function matrixOf(kernel: Kernel, booted: Promise<readonly Report[]>, runs: KernelRun[]): void {
  let reports: readonly Report[] = [];
  let strategyRuns: Record<string, StrategyRun> = {};

  const first = <K extends Report['kind']>(kind: K, strategy?: Strategy): Of<K> => {
    const found = reports.find(
      (report) =>
        report.kind === kind && (strategy === undefined || (report as { strategy?: Strategy }).strategy === strategy),
    );
    if (found) return found as Of<K>;
    const failures = reports.filter((report) => report.kind === 'failure' && report.strategy === strategy);
    throw new Error(`no ${kind}: ${failures.map((report) => (report as Of<'failure'>).message).join('\n')}`);
  };
  const diagnosis = () => first('doctor').diagnosis as Diagnosis;

  before(async () => {
    reports = await booted;
    strategyRuns = Object.fromEntries(kernel.strategies.map((strategy) => [strategy, { fixtures: {} }]));
    const found = diagnosis();
    const features = found.checks.filter(({ group, status }) => group === 'kernel features' && status === 'ok');
    runs.push({
      series: kernel.series,
      suite: kernel.suite,
      release: first('started').release,
      chosen: found.strategy.name ?? 'none',
      framesPerProgram: found.strategy.selfTest?.framesPerProgram ?? 0,
      features: features.map(({ name }) => name).sort(),
      strategies: strategyRuns,
    });
  });

  it('is of the series asked for', () => {
    const { release } = first('started');
    assert.ok(release.startsWith(`${kernel.series}.`), release);
  });

  it('has every feature that it is documented to have', () => {
    const { checks } = diagnosis();
    for (const name of documentedFeatures(kernel.series, FEATURES)) {
      const check = checks.find((each) => each.group === 'kernel features' && each.name === name);
      assert.equal(check?.status, 'ok', `${name}: ${check?.detail}`);
    }
  });

  it(`works, and ${kernel.strategies[0]} is chosen`, () => {
    const { works, strategy, depth, checks } = diagnosis();
    assert.ok(works, JSON.stringify(checks.filter(({ status }) => status === 'fail')));
    assert.equal(strategy.name, kernel.strategies[0]);
    assert.equal(depth, 4096, 'frames that the strategy reaches');
  });

  for (const strategy of strategies.filter((each) => !kernel.strategies.includes(each))) {
    it(`refuses ${strategy} with a reason`, () => {
      const failure = first('failure', strategy);
      assert.match(failure.message, /ended with code 1: plumbline: load (object profiler|strategy deferred)/);
    });
  }

  for (const strategy of kernel.strategies) {
    it(`${strategy}: nothing fires without an outcome`, () => {
      // recordRaw asserts the identity in the guest; this is what it saw.
      const { fired, outcomes } = first('observation', strategy).observation.summary;
      assert.equal(
        Object.values(outcomes).reduce((sum, count) => sum + count, 0),
        fired,
      );
      assert.ok(fired > 0);
    });

    for (const { fixture, depth } of cases) {
      it(`${strategy}: ${fixture}, depth ${depth}`, (t) => {
        const { observed } = first('observation', strategy).observation;
        const one = observed.find((each) => each.fixture.recipe.name === fixture && each.fixture.depth === depth)!;
        const results = strategyRuns[strategy].fixtures;
        const name = `${fixture} ${depth}`;
        results[name] = 'wrong';
        t.diagnostic(judge(one, strategy));
        const cut = one.stacks.filter(({ outcome }) => outcome === 'truncated');
        assert.ok(!cut.some(({ reason }) => reason === 'tail_call_limit'), 'within the reach of every strategy');
        const settles = one.fixture.recipe.expect.outcome === 'settling';
        results[name] = cut.length === 0 || settles ? 'complete' : `truncated: ${cut[0].reason}`;
      });
    }
  }

  it(`processes that live ${SHORT_LIVED.lifetimeMs} ms are known`, (t) => {
    const { samples } = first('shortLived');
    const total = Object.values(samples).reduce((sum, count) => sum + count, 0);
    t.diagnostic(JSON.stringify(samples));
    assert.ok(total > 0, 'no sample');
    const unknown = samples['truncated process_unknown'] ?? 0;
    assert.ok(unknown <= total * MOST_UNKNOWN, `${unknown} of ${total} samples: process_unknown`);
  });
}
