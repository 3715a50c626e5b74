// SPDX-License-Identifier: Apache-2.0
/**
 * The main job without a cluster and without a collector: real programs that run deep, profiled by the agent with a
 * policy file, received by an embedded OTLP receiver, and compared with what an unwinder of 29 tail calls would have kept.
 *
 *   node demo/demo.ts [--seconds 20]
 */
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { buildFixtures } from '../e2e/fixtures/build.ts';
import { recipes } from '../e2e/fixtures/recipes.ts';
import { type RunningFixture, startFixture } from '../e2e/fixtures/start.ts';
import { programs } from '../e2e/programs/programs.ts';
import { missingFor, startWorkload, type Workload } from '../e2e/programs/workload.ts';
import { startGrpcReceiver } from '../packages/agent/src/export/otlp-receiver.ts';
import { type ReceivedStack, receivedStacks } from './received-depths.ts';

/** 29 chained programs of 5 native frames: the budget of the strongest peer. */
const PEER_FRAMES = 145;
const root = join(import.meta.dirname, '..');
const bold = (text: string) => (process.stdout.isTTY && !process.env.NO_COLOR ? `\x1b[1m${text}\x1b[0m` : text);
const green = (text: string) => (process.stdout.isTTY && !process.env.NO_COLOR ? `\x1b[32m${text}\x1b[0m` : text);
const red = (text: string) => (process.stdout.isTTY && !process.env.NO_COLOR ? `\x1b[31m${text}\x1b[0m` : text);

interface Row {
  readonly name: string;
  readonly about: string;
  /** Whether a process is one of the row's. */
  readonly is: (stack: ReceivedStack) => boolean;
}

const secondsFlag = process.argv.indexOf('--seconds');
const seconds = secondsFlag > 0 ? Number(process.argv[secondsFlag + 1]) : 20;
if (!(seconds >= 1 && seconds <= 600)) {
  console.error('demo: --seconds takes a number from 1 to 600');
  process.exit(2);
}

const running: (RunningFixture | Workload)[] = [];
const rows: Row[] = [];
/** Notes the processes of the workloads, which come and go. */
const watchers: (() => void)[] = [];
const receiver = await startGrpcReceiver();
const folder = mkdtempSync(join(tmpdir(), 'plumbline-demo-'));
let agent: ReturnType<typeof spawn> | undefined;
try {
  await startPrograms();
  const address = await startAgent();
  await profile(address);
  const stacks = receiver.requests.flatMap((request) => receivedStacks(request));
  print(stacks);
  await finish(address, stacks);
} finally {
  for (const program of running) await program.stop();
  agent?.kill('SIGTERM');
  if (agent && agent.exitCode === null) await new Promise((resolve) => agent?.once('exit', resolve));
  await receiver.close();
  rmSync(folder, { recursive: true, force: true });
}

async function startPrograms(): Promise<void> {
  const deep = [
    { fixture: 'recursion', depth: 700, about: 'C, recursion without frame pointers' },
    { fixture: 'virtual', depth: 400, about: 'C++, virtual calls of a tree' },
  ];
  console.log(bold('Starting programs that run deep'));
  const wanted = recipes.filter(({ name }) => deep.some(({ fixture }) => fixture === name));
  const built = await buildFixtures(wanted);
  for (const { fixture, depth, about } of deep) {
    const recipe = wanted.find(({ name }) => name === fixture);
    const directory = built.get(fixture);
    if (!recipe || !directory) throw new Error(`there is no fixture ${fixture}`);
    const started = await startFixture(recipe, directory, depth, seconds + 120);
    running.push(started);
    rows.push({ name: fixture, about, is: ({ pid }) => pid === started.pid });
    console.log(`  ${fixture}: ${about}, ${depth} frames`);
  }
  for (const program of programs) {
    if (!['cc1plus', 'postgresql', 'redis', 'node', 'python', 'bash'].includes(program.name)) continue;
    const missing = missingFor(program);
    if (missing.length > 0) {
      console.log(`  ${program.name}: left out, ${missing.join(', ')} is not installed`);
      continue;
    }
    const workload = await startWorkload(program);
    running.push(workload);
    await workload.go();
    const pids = new Set<number>();
    const note = () => {
      for (const pid of workload.processes()) pids.add(pid);
    };
    note();
    watchers.push(note);
    rows.push({
      name: program.name,
      about: program.about,
      is: ({ pid, program: name }) => pids.has(pid) || name === program.comm,
    });
    console.log(`  ${program.name}: ${program.about}`);
  }
}

/** Starts the agent with a policy file; returns the address of its page. */
async function startAgent(): Promise<string> {
  const config = join(folder, 'node.yaml');
  writeFileSync(
    config,
    [
      '# What to profile and how well: the same keys as in a cluster.',
      'sampling: { frequencyHz: 49 }',
      'unwinding: { strategy: Auto, maxFrames: 4096 }',
      'budget: { onExceeded: Report }',
      'reportInterval: 2s',
      `exports: [{ otlp: { endpoint: "${receiver.endpoint}" } }]`,
      `agent: { listen: "127.0.0.1:0", stateDirectory: "${join(folder, 'state')}" }`,
      '',
    ].join('\n'),
  );
  console.log(bold('Starting the agent'));
  const child = spawn(join(root, 'bin/plumbline'), ['agent', '--config', config], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  agent = child;
  let log = '';
  let address: string | undefined;
  child.stderr.on('data', (data) => {
    log += data;
    address ??= /"address":"(http:[^"]+)"/.exec(log)?.[1];
  });
  for (;;) {
    if (child.exitCode !== null) throw new Error(`the agent ended:\n${log}`);
    if (address && (await fetch(new URL('/readyz', address)).catch(() => undefined))?.ok) return address;
    await delay(100);
  }
}

async function profile(address: string): Promise<void> {
  console.log(bold(`Profiling for ${seconds} s`));
  for (let left = seconds; left > 0; left--) {
    for (const watch of watchers) watch();
    if (process.stdout.isTTY) process.stdout.write(`\r  ${left} s left, ${receiver.requests.length} exports received `);
    await delay(1000);
  }
  if (process.stdout.isTTY) process.stdout.write('\r\x1b[K');
  // On a busy machine the first names take their time; all that was sampled until now is waited for.
  const sampled = await userSamples(address);
  const received = () =>
    receiver.requests
      .flatMap((request) => receivedStacks(request))
      .reduce((sum, { count, outcome }) => sum + (outcome === 'kernel_only' ? 0 : count), 0);
  console.log(bold(`Waiting until the ${sampled} samples are symbolized and exported`));
  const deadline = performance.now() + 120_000;
  while (received() < sampled && performance.now() < deadline) await delay(200);
}

/** User samples that the kernel side has counted so far. */
async function userSamples(address: string): Promise<number> {
  const text = await (await fetch(new URL('/metrics', address))).text();
  let sum = 0;
  for (const [, outcome, value] of text.matchAll(/^plumbline_samples_total\{outcome="(\w+)",.*\} (\d+)$/gm))
    if (['complete', 'recovered', 'truncated'].includes(outcome)) sum += Number(value);
  return sum;
}

function print(stacks: readonly ReceivedStack[]): void {
  const head = ['program', 'samples', 'deepest', 'a 29-tail-call unwinder cuts', 'Plumbline cuts', 'what it does'];
  const table = rows.map(({ name, about, is }) => {
    const own = stacks.filter((stack) => is(stack) && stack.outcome !== 'kernel_only');
    const samples = own.reduce((sum, { count }) => sum + count, 0);
    const share = (count: number) => (samples === 0 ? '-' : `${((100 * count) / samples).toFixed(1)} %`);
    const of = (chosen: readonly ReceivedStack[]) => chosen.reduce((sum, { count }) => sum + count, 0);
    return [
      name,
      `${samples}`,
      `${own.reduce((deepest, { depth }) => Math.max(deepest, depth), 0)} frames`,
      share(of(own.filter(({ depth }) => depth > PEER_FRAMES))),
      share(of(own.filter(({ outcome }) => outcome === 'truncated'))),
      about,
    ];
  });
  const widths = head.map((title, column) => Math.max(title.length, ...table.map((row) => row[column].length)));
  const line = (row: readonly string[], paint = (text: string, _column: number) => text) =>
    row
      .map((cell, column) =>
        paint(column === 0 || column === 5 ? cell.padEnd(widths[column]) : cell.padStart(widths[column]), column),
      )
      .join('  ');
  console.log(`\n${line(head, bold)}`);
  for (const row of table)
    console.log(
      line(row, (text, column) =>
        column === 3 && !/^\s*(0\.0 %|-)$/.test(text) ? red(text) : column === 4 ? green(text) : text,
      ),
    );
  const user = stacks.filter(({ outcome }) => outcome !== 'kernel_only');
  const total = user.reduce((sum, { count }) => sum + count, 0);
  const cut = user.filter(({ outcome }) => outcome === 'truncated').reduce((sum, { count }) => sum + count, 0);
  console.log(
    `\nWhole machine: ${total} user samples received, truncated ratio ${((100 * cut) / Math.max(1, total)).toFixed(2)} %.`,
  );
  const reasons = new Map<string, number>();
  for (const { outcome, reason, count } of user)
    if (outcome === 'truncated') reasons.set(reason, (reasons.get(reason) ?? 0) + count);
  for (const [reason, count] of [...reasons].sort((a, b) => b[1] - a[1]))
    console.log(`  ${`${count}`.padStart(6)} ${reason}`);
}

async function finish(address: string, stacks: readonly ReceivedStack[]): Promise<void> {
  const output = join(root, 'build/demo');
  mkdirSync(output, { recursive: true });
  const page = join(output, 'flame-graph.html');
  writeFileSync(page, await (await fetch(address)).text());
  console.log(`\nFlame graph: ${page}`);
  if (process.stdin.isTTY && process.stdout.isTTY) {
    console.log(`Live, until you press Enter: ${bold(address)}`);
    await new Promise((resolve) => process.stdin.once('data', resolve));
    process.stdin.pause();
  }
  for (const { name, is } of rows)
    if (!stacks.some(is)) {
      console.error(`demo: no sample of ${name} arrived`);
      process.exitCode = 1;
    }
}
