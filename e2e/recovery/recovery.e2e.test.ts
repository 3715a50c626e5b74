// SPDX-License-Identifier: Apache-2.0
/**
 * Walks that the kernel side gives up, finished by the agent, on the real kernel: stacks cut by the limit on tail calls,
 * programs that live too short to become known, executables that nobody has seen before. And complete walks made again by
 * the agent's own unwinder.
 */
import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { setPriority, tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { record } from '../../packages/agent/src/recording.ts';
import type { RawStack, RecordOptions, RecordResult } from '../../packages/agent/src/recording-options.ts';
import { buildFixtures } from '../fixtures/build.ts';
import { recipes } from '../fixtures/recipes.ts';
import { type RunningFixture, startFixture } from '../fixtures/start.ts';
import { compareWithTruth, type JudgedFrame } from '../truth/compare.ts';
import { placeOf } from '../truth/fixture-place.ts';
import { withoutPreemption } from '../truth/judge.ts';
import { type ExecutableMapping, executableMappings } from '../truth/mappings.ts';

const skip = process.getuid?.() === 0 || process.env.CI === 'true' ? false : 'needs root';

/** With so many frames a program, 33 tail calls end after 396 frames. */
const FRAMES_PER_PROGRAM = 12;
const CUT_AT = 33 * FRAMES_PER_PROGRAM;
const DEPTH = 500;
/** Of a fixture, at most: it is stopped when its test ends. */
const LIFETIME_S = 900;
/** Each of another kind, all of them with less than 64 KiB of stack above the cut. */
const DEEP = [
  'recursion',
  'recursion-frame-pointers',
  'recursion-clang',
  'recursion-no-header',
  'recursion-no-sections',
  'recursion-debug-frame-compressed',
  'recursion-pointers-only',
  'recursion-static-stripped',
  'recursion-musl',
  'recursion-deleted',
  'asm-r11',
  'threads',
  'signal-alternate',
  'plt-lazy',
  'vdso',
  'go',
  'rust',
];
/** Goroutines have two frames for each level of depth. */
const DEPTH_OF: Record<string, number> = { go: 250 };

const sum = (counts: Readonly<Record<string, number>>) => Object.values(counts).reduce((a, b) => a + b, 0);

/** Records until so many samples are selected, or the time is over, and checks what holds of every recording. */
async function recordStacks(
  options: Partial<RecordOptions> & Pick<RecordOptions, 'target'>,
  samples = Number.POSITIVE_INFINITY,
): Promise<RecordResult> {
  const enough = new AbortController();
  const result = await record(
    {
      ...{ durationMs: 4_000, frequency: 499, event: 'cpu-clock', strategy: 'auto', maxFrames: 4096 },
      ...{ keepRawStacks: true, abort: enough.signal },
      ...options,
    },
    ({ counters: { byReason } }) => {
      const { not_selected = 0, ...selected } = byReason;
      if (sum(selected) >= samples) enough.abort();
    },
  );
  const { fired, byReason } = result.counters;
  assert.equal(sum(byReason), fired, 'every sample that fired has one outcome');
  for (const count of Object.values(byReason)) assert.ok(count > 0);
  assert.equal(byReason.recovered ?? 0, result.recovery.recovered);
  return result;
}

/** Records one process by tail calls that end early. */
const recordCut = ({ pid }: RunningFixture, samples: number, options: Partial<RecordOptions> = {}) =>
  recordStacks(
    {
      ...{ target: { kind: 'pid', pid }, strategy: 'tailCall', framesPerProgram: FRAMES_PER_PROGRAM },
      ...{ durationMs: 20_000, frequency: 199 },
      ...options,
    },
    samples,
  );

const userStacks = (stacks: Iterable<RawStack>) =>
  [...stacks].filter(({ outcome }) => /complete|recovered|truncated/.test(outcome));
const countOf = (stacks: readonly RawStack[]) => stacks.reduce((total, { count }) => total + count, 0);

function describeStacks(stacks: readonly RawStack[]): string {
  return stacks
    .map(
      ({ comm, reason, user, failingPc, count }) =>
        `${count} × ${comm}: ${reason} after ${user.length} frames, last ${user.at(-1)?.name ?? '?'}, at 0x${failingPc?.toString(16)}`,
    )
    .join('\n');
}

async function start(name: string, depth: number): Promise<RunningFixture> {
  const recipe = recipes.find((candidate) => candidate.name === name);
  assert.ok(recipe, name);
  const directories = await buildFixtures([recipe]);
  const fixture = await startFixture(recipe, directories.get(name)!, DEPTH_OF[name] ?? depth, LIFETIME_S);
  setPriority(fixture.pid, 0);
  return fixture;
}

function judge(fixture: RunningFixture, mappings: readonly ExecutableMapping[], stack: RawStack): string | undefined {
  const frames = stack.user.map(({ address, exact, name }): JudgedFrame => {
    const place = placeOf(fixture, mappings, address, exact);
    return { address, names: place.names ?? (name === undefined ? [] : [name]), mapping: place.mapping };
  });
  const truths = fixture.stacks.filter(({ tid }) => tid === 0 || tid === stack.tid);
  const problems = truths.map((truth) => {
    const isOther = truth.tid === 0 && !frames.some(({ names }) => names.includes(truth.names[0]!));
    const ofAccount = truth.tid === 0 ? withoutPreemption(frames, truth.names[0]!) : frames;
    return isOther ? undefined : compareWithTruth(ofAccount, true, truth, fixture.recipe);
  });
  return problems.length === 0 || problems.includes(undefined) ? undefined : problems[0];
}

describe('stacks cut by the limit on tail calls', { skip, timeout: 600_000 }, () => {
  for (const name of DEEP) {
    it(name, async (t) => {
      const fixture = await start(name, DEPTH);
      t.after(() => fixture.stop());
      const mappings = executableMappings(fixture.pid);
      const result = await recordCut(fixture, 30);
      const { spills, recovered, failures } = result.recovery;
      const stacks = userStacks(result.rawStacks());
      const deep = stacks.filter(({ user }) => user.length > CUT_AT);
      t.diagnostic(`${countOf(deep)} of ${countOf(stacks)} samples recovered`);
      assert.ok(countOf(deep) > 0, `no sample recovered: ${describeStacks(stacks)}`);
      for (const stack of stacks) {
        assert.notEqual(stack.outcome, 'truncated', describeStacks([stack]));
        const wrong = judge(fixture, mappings, stack);
        assert.equal(wrong, undefined, `${wrong}; ${stack.reason}, ${stack.user.length} frames`);
      }
      assert.equal(spills.sent, recovered + sum(failures));
    });
  }
});

describe('stacks with more than one record of stack memory above the cut', { skip, timeout: 120_000 }, () => {
  it('are recovered up to four records', async (t) => {
    // Frames of some 430 bytes: 400 of them above the cut.
    const fixture = await start('recursion', 800);
    t.after(() => fixture.stop());
    const mappings = executableMappings(fixture.pid);
    const stacks = userStacks((await recordCut(fixture, 30)).rawStacks());
    assert.ok(countOf(stacks) > 0);
    for (const stack of stacks) {
      assert.equal(stack.outcome, 'recovered', describeStacks([stack]));
      assert.equal(judge(fixture, mappings, stack), undefined);
    }
  });
});

describe('processes that spill too often', { skip, timeout: 120_000 }, () => {
  it('keep their reason beyond the rate, and are counted', async (t) => {
    const fixture = await start('threads', DEPTH);
    t.after(() => fixture.stop());
    const options = { frequency: 9_999, keepRawStacks: false };
    const { counters, recovery, elapsedMs } = await recordCut(fixture, 8_000, options);
    const { spills, recovered, failures } = recovery;
    assert.ok(spills.limited > 0 && recovered > 0, JSON.stringify(recovery));
    // 400 at once and 200 a second.
    assert.ok(spills.sent <= 400 + 200 * (elapsedMs / 1000 + 1), String(spills.sent));
    assert.equal(spills.sent, recovered + sum(failures));
    const cut = counters.byReason.tail_call_limit ?? 0;
    assert.equal(cut, spills.limited + spills.refused + spills.unread + sum(failures));
  });
});

describe('programs that live 50 to 500 ms', { skip, timeout: 300_000 }, () => {
  let folder: string;
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'plumbline-short-lived-'));
    writeFileSync(
      join(folder, 'x.c'),
      '#include <stdio.h>\nint main() { for (int i = 0; i < 9; i++) printf("%d", i); }\n',
    );
    // Every other program is an executable that no one has seen before.
    const script = `
      n=0
      while :; do
        n=$((n + 1))
        perl -e '$i++ while $i < 3e6'
        cp "$(command -v perl)" ${folder}/perl-$n && ${folder}/perl-$n -e '$i++ while $i < 3e6'
        sh -c 'i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done'
        cp /bin/sh ${folder}/sh-$n && ${folder}/sh-$n -c 'i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done'
        gcc -O2 -S -o /dev/null ${folder}/x.c
        rm -f ${folder}/perl-$n ${folder}/sh-$n
      done`;
    writeFileSync(join(folder, 'loop.sh'), script);
    chmodSync(join(folder, 'loop.sh'), 0o755);
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  for (const strategy of ['loop', 'tailCall'] as const) {
    it(`99 % of their samples are whole, ${strategy}`, async (t) => {
      const argv = ['sh', join(folder, 'loop.sh')];
      const result = await recordStacks(
        { target: { kind: 'command', argv, stdout: 'stderr' }, strategy, durationMs: 60_000 },
        1_000,
      );
      const { byReason } = result.counters;
      const stacks = userStacks(result.rawStacks());
      const cut = stacks.filter(({ outcome }) => outcome === 'truncated');
      const [all, whole] = [countOf(stacks), countOf(stacks) - countOf(cut)];
      t.diagnostic(`${whole} of ${all} samples whole, ${byReason.recovered ?? 0} of them recovered`);
      assert.ok(all >= 200, `${all} samples`);
      assert.ok((byReason.recovered ?? 0) > 0);
      assert.ok(whole >= 0.99 * all, `${whole} of ${all} whole:\n${describeStacks(cut)}`);
    });
  }
});

describe('verification', { skip, timeout: 600_000 }, () => {
  const fixtures: RunningFixture[] = [];
  before(async () => {
    const kinds = [
      'recursion-debug-frame',
      'recursion-pointers-only',
      'recursion-musl',
      'realign',
      'virtual',
      'context',
    ];
    for (const name of [...kinds, 'signal-nested', 'vfork', 'rust', 'go-cgo', 'jit-frame-pointers'])
      fixtures.push(await start(name, 60));
  });
  after(() => Promise.all(fixtures.map((fixture) => fixture.stop())));

  for (const strategy of ['loop', 'tailCall'] as const) {
    it(`two unwinders find the same frames in every process of the machine, ${strategy}`, async (t) => {
      const result = await recordStacks({ target: { kind: 'all' }, strategy, verifyRatio: 1, keepRawStacks: false });
      const { verdicts, mismatches } = result.recovery;
      t.diagnostic(JSON.stringify(verdicts));
      const shown = mismatches.map(
        ({ comm, at, kernel, agent }) =>
          `${comm}, frame ${at}: ${kernel[at]?.name} by the kernel, ${agent[at]?.name} by the agent`,
      );
      assert.equal(verdicts.mismatch, 0, shown.join('\n'));
      assert.ok(verdicts.equal > 100);
      assert.ok(verdicts.equal > 9 * verdicts.undecided, 'most walks can be made again');
    });
  }

  it('takes the share that is asked for', async () => {
    const { counters, recovery } = await recordStacks(
      {
        ...{ target: { kind: 'pid', pid: fixtures[0].pid }, verifyRatio: 0.1, keepRawStacks: false },
        ...{ frequency: 4_999, durationMs: 30_000 },
      },
      2_000,
    );
    const { root_undefined_ra = 0 } = counters.byReason;
    const { sent, refused, unread } = recovery.spills;
    assert.equal(sent, sum(recovery.verdicts));
    const share = (sent + refused + unread) / root_undefined_ra;
    assert.ok(share > 0.05 && share < 0.2, `${share} of ${root_undefined_ra}`);
  });
});
