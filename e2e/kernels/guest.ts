// SPDX-License-Identifier: Apache-2.0
/** Runs inside a booted kernel, started by its init: doctor, then the fixtures by every strategy; reports over the serial line. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { openSync, readFileSync, writeSync } from 'node:fs';
import { release } from 'node:os';
import { join } from 'node:path';
import { recipes } from '../fixtures/recipes.ts';
import { startFixture } from '../fixtures/start.ts';
import { type Case, observe } from '../truth/observe.ts';
import { recordRaw, type Strategy } from '../truth/recording.ts';
import { encodeReport, type Report, type ShortLived } from './report.ts';

/** What the host has put beside this program, as JSON. */
export interface Plan {
  readonly strategies: readonly Strategy[];
  readonly cases: readonly { readonly fixture: string; readonly depth: number }[];
  /** Where the fixtures were built, by name. */
  readonly directories: Readonly<Record<string, string>>;
  /** Of a recording of fixtures, at most; each fixture runs for `turnMs` of processor time. */
  readonly seconds: number;
  readonly turnMs: number;
  readonly frequency: number;
  readonly shortLived: {
    readonly fixture: string;
    readonly depth: number;
    readonly processes: number;
    readonly lifetimeMs: number;
  };
}

const line = openSync(process.argv[3] ?? '/dev/ttyS1', 'w');

function report(value: Report): void {
  const bytes = Buffer.from(encodeReport(value));
  for (let at = 0; at < bytes.length; ) at += writeSync(line, bytes, at);
}

async function attempt(part: string, strategy: Strategy | undefined, run: () => Promise<Report>): Promise<boolean> {
  const begun = performance.now();
  let isDone = false;
  try {
    report(await run());
    isDone = true;
  } catch (error) {
    report({
      kind: 'failure',
      strategy,
      part,
      message: error instanceof Error ? (error.stack ?? error.message) : `${error}`,
    });
  }
  console.log(`${part} ${strategy ?? ''}: ${Math.round(performance.now() - begun)} ms`);
  return isDone;
}

async function doctor(): Promise<Report> {
  const { stdout, stderr } = spawnSync(process.env.PLUMBLINE_UNDER_TEST!, ['doctor', '--json'], { encoding: 'utf8' });
  if (stdout === '') throw new Error(`doctor says nothing: ${stderr}`);
  return { kind: 'doctor', diagnosis: JSON.parse(stdout) };
}

/** A shell that starts processes one after the other and ends each before anybody could read its mappings. */
const NURSERY = `read _; i=0
while [ $i -lt "$1" ]; do "$2" "$3" 60 >/dev/null & sleep "$4"; kill -9 $!; wait $!; i=$((i + 1)); done
exit 0`;

async function shortLived({ shortLived: wanted, directories, frequency }: Plan, strategy: Strategy): Promise<Report> {
  const recipe = recipes.find(({ name }) => name === wanted.fixture)!;
  const directory = directories[wanted.fixture];
  // One that stays makes its files known, as on a machine where the program has run before.
  const resident = await startFixture(recipe, directory, wanted.depth);
  process.kill(resident.pid, 'SIGSTOP');
  const args = [wanted.processes, join(directory, recipe.program), wanted.depth, wanted.lifetimeMs / 1e3].map(String);
  const nursery = spawn('dash', ['-c', NURSERY, 'dash', ...args], { stdio: ['pipe', 'ignore', 'ignore'] });
  const ended = once(nursery, 'close');
  const { summary, stacks } = await recordRaw({
    pid: [nursery.pid!, resident.pid],
    strategy,
    seconds: 120,
    frequency,
    endsWithCallback: true,
    whileRecording: async () => {
      nursery.stdin.end('\n');
      await ended;
    },
    keep: ({ comm }) => comm === recipe.program,
  });
  await resident.stop();
  const samples: Record<string, number> = {};
  for (const { outcome, reason, count } of stacks) {
    if (outcome === 'kernel_only') continue;
    const what = outcome === 'complete' ? outcome : `${outcome} ${reason}`;
    samples[what] = (samples[what] ?? 0) + count;
  }
  return { kind: 'shortLived', strategy, summary, samples: samples satisfies ShortLived };
}

report({ kind: 'started', release: release() });
const plan = JSON.parse(readFileSync(process.argv[2], 'utf8')) as Plan;
const cases: Case[] = plan.cases.map(({ fixture, depth }) => ({
  recipe: recipes.find(({ name }) => name === fixture)!,
  depth,
}));
const directories = new Map(Object.entries(plan.directories));
await attempt('doctor', undefined, doctor);
let isTried = false;
for (const strategy of plan.strategies) {
  const { seconds, frequency, turnMs } = plan;
  await attempt('fixtures', strategy, async () => ({
    kind: 'observation',
    strategy,
    observation: await observe(cases, directories, {
      strategy,
      seconds,
      frequency,
      turn: turnMs * 1e6,
      fixturesAlone: true,
    }),
  }));
  // The code that is at work here is the same in all strategies.
  if (!isTried) isTried = await attempt('short-lived', strategy, () => shortLived(plan, strategy));
}
report({ kind: 'end' });
process.exit(0);
