// SPDX-License-Identifier: Apache-2.0
/**
 * The OpenTelemetry eBPF profiler and Plumbline on the same load, alternating in one run: time in the kernel per sample,
 * complete stacks, CPU and memory of the agent.
 *
 *   node bench/peer.ts [--brief] [--write]
 *
 * Builds the peer from the Go module proxy into a cache outside the tree. Needs Go, gcc and root.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { enableRunTimeStatistics } from '@plumbline/bpf';
import { receivedStacks } from '../demo/received-depths.ts';
import { startGrpcReceiver } from '../packages/agent/src/export/otlp-receiver.ts';
import { processCost, startBundledAgent } from './agent-cost.ts';
import { machine } from './machine.ts';
import { asText, median, type Table } from './table.ts';
import { startRecursion } from './walk.ts';
import { writeTable } from './write-table.ts';

const VERSION = 'v0.0.202633';
const FREQUENCY = 99;
/** BPF_PROG_TYPE_PERF_EVENT of linux/bpf.h. */
const PERF_EVENT = 7;
const cache = join(
  process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'),
  'plumbline',
  `otel-ebpf-profiler-${VERSION}`,
);

interface Figure {
  readonly nsPerSample: number;
  readonly completeShare: number;
  readonly cpuShare: number;
  readonly rssMiB: number;
}

interface Contender {
  readonly name: string;
  start(endpoint: string): Promise<{ readonly pid: number; stop(): Promise<void> }>;
}

const brief = process.argv.includes('--brief');
const rounds = brief ? 2 : 5;
const seconds = brief ? 10 : 20;

const contenders: readonly Contender[] = [
  { name: 'OpenTelemetry', start: startPeer },
  { name: 'Plumbline', start: (endpoint) => startBundledAgent(FREQUENCY, endpoint) },
];

console.log(`${machine()}${brief ? ', brief run' : ''}`);
build();
const statistics = enableRunTimeStatistics();
const rows: string[][] = [];
const slopes = new Map<string, { depth: number; ns: number }[]>();
for (const depth of [32, 128, 1000]) {
  const load = await startRecursion(depth);
  try {
    const figures = new Map<string, Figure[]>();
    for (let round = 0; round < rounds; round++)
      for (const contender of contenders) {
        const figure = await measure(contender, depth);
        figures.set(contender.name, [...(figures.get(contender.name) ?? []), figure]);
        console.log(
          `  depth ${depth}, round ${round + 1}, ${contender.name}: ${Math.round(figure.nsPerSample)} ns a sample`,
        );
      }
    const of = (name: string, value: (figure: Figure) => number) => median((figures.get(name) ?? []).map(value));
    for (const { name } of contenders) {
      const ns = of(name, ({ nsPerSample }) => nsPerSample);
      slopes.set(name, [...(slopes.get(name) ?? []), { depth, ns }]);
      rows.push([
        `depth ${depth}, ${name}`,
        `${Math.round(ns)}`,
        (ns / of('OpenTelemetry', ({ nsPerSample }) => nsPerSample)).toFixed(2),
        `${(100 * of(name, ({ completeShare }) => completeShare)).toFixed(1)} %`,
        `${(100 * of(name, ({ cpuShare }) => cpuShare)).toFixed(1)} %`,
        `${Math.round(of(name, ({ rssMiB }) => rssMiB))} MiB`,
      ]);
    }
  } finally {
    await load.stop();
  }
}
statistics.close();
const perFrame = (name: string) => {
  const [a, b] = slopes.get(name) ?? [];
  return (b.ns - a.ns) / (b.depth - a.depth);
};
const table: Table = {
  title: 'Beside the strongest peer',
  command: 'make bench-peer',
  head: [
    '99 Hz, both CPUs busy',
    'BPF ns per sample',
    'ratio',
    'stacks with all frames',
    'CPU of one core',
    'resident',
  ],
  rows,
  notes: [
    `Medians of ${rounds} alternating rounds of ${seconds} s; OpenTelemetry eBPF profiler ${VERSION}. Time per frame between depths 32 and 128: ${perFrame('OpenTelemetry').toFixed(0)} ns and ${perFrame('Plumbline').toFixed(0)} ns, ratio ${(perFrame('Plumbline') / perFrame('OpenTelemetry')).toFixed(2)}.`,
    'The peer marks no stack as cut. Its BPF time includes its kernel stack and its record, as ours does.',
  ],
};
console.log(asText(table));
if (process.argv.includes('--write')) writeTable(table, `${machine()}${brief ? ', brief run' : ''}`);
process.exit(0);

function build(): void {
  if (existsSync(join(cache, 'peer')) && existsSync(join(cache, 'no-memlock'))) return;
  console.log(`Building the peer ${VERSION} into ${cache}`);
  mkdirSync(cache, { recursive: true });
  writeFileSync(
    join(cache, 'go.mod'),
    `module peer\n\ngo 1.26.0\n\nrequire go.opentelemetry.io/ebpf-profiler ${VERSION}\n`,
  );
  const environment = { ...process.env, GOFLAGS: '-mod=mod' };
  execFileSync('go', ['build', '-o', 'peer', 'go.opentelemetry.io/ebpf-profiler'], {
    cwd: cache,
    env: environment,
    stdio: 'inherit',
  });
  execFileSync('gcc', ['-O2', '-o', join(cache, 'no-memlock'), join(import.meta.dirname, 'no-memlock.c')], {
    stdio: 'inherit',
  });
}

/** In a mount namespace of its own, for it needs tracefs. */
async function startPeer(endpoint: string): Promise<{ pid: number; stop(): Promise<void> }> {
  const child: ChildProcess = spawn(
    'unshare',
    [
      '--mount',
      'sh',
      '-c',
      '[ -e /sys/kernel/tracing/events ] || mount -t tracefs nodev /sys/kernel/tracing && exec "$@"',
      'sh',
      join(cache, 'no-memlock'),
      join(cache, 'peer'),
      '-collection-agent',
      endpoint,
      '-disable-tls',
      '-samples-per-second',
      `${FREQUENCY}`,
      '-reporter-interval',
      '2s',
    ],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  );
  let log = '';
  child.stderr?.on('data', (data) => {
    log += data;
  });
  for (let i = 0; child.exitCode !== null || runTimes(child.pid as number).runs === 0; i++) {
    if (child.exitCode !== null || i > 300) {
      child.kill('SIGKILL');
      throw new Error(`the peer did not start:\n${log.slice(-2000)}`);
    }
    await delay(100);
  }
  return {
    pid: child.pid as number,
    async stop() {
      child.kill('SIGTERM');
      if (child.exitCode === null) await new Promise((resolve) => child.once('exit', resolve));
    },
  };
}

/** Run time and runs of the sampling programs that a process holds, by the kernel's own measure: bpf_prog_show_fdinfo(). */
function runTimes(pid: number): { ns: number; runs: number } {
  const programs = new Map<number, { ns: number; runs: number }>();
  for (const fd of readdirSync(`/proc/${pid}/fdinfo`)) {
    const text = fdinfo(pid, fd);
    const field = (name: string) => Number(new RegExp(`^${name}:\\s*(\\d+)`, 'm').exec(text)?.[1] ?? 0);
    if (field('prog_type') === PERF_EVENT) {
      programs.set(field('prog_id'), { ns: field('run_time_ns'), runs: field('run_cnt') });
    }
  }
  const all = [...programs.values()];
  return { ns: all.reduce((sum, { ns }) => sum + ns, 0), runs: all.reduce((sum, { runs }) => sum + runs, 0) };
}

/** Empty when it was closed meanwhile. */
function fdinfo(pid: number, fd: string): string {
  try {
    return readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'utf8');
  } catch {
    return '';
  }
}

async function measure(contender: Contender, depth: number): Promise<Figure> {
  const receiver = await startGrpcReceiver();
  const agent = await contender.start(receiver.endpoint);
  try {
    await delay(brief ? 6_000 : 12_000); // tables are built, the first exports are made
    const from = receiver.requests.length;
    const before = { run: runTimes(agent.pid), cost: processCost(agent.pid) };
    await delay(seconds * 1e3);
    const after = { run: runTimes(agent.pid), cost: processCost(agent.pid) };
    for (let i = 0; receiver.requests.length === from && i < 150; i++) await delay(100);
    const stacks = receiver.requests.slice(from).flatMap((request) => receivedStacks(request));
    const own = stacks.filter(({ program }) => program === 'recursion');
    const count = (of: typeof own) => of.reduce((sum, stack) => sum + Math.max(1, stack.count), 0);
    return {
      nsPerSample: (after.run.ns - before.run.ns) / Math.max(1, after.run.runs - before.run.runs),
      completeShare: count(own.filter((stack) => stack.depth >= depth)) / Math.max(1, count(own)),
      cpuShare: (after.cost.cpuSeconds - before.cost.cpuSeconds) / seconds,
      rssMiB: after.cost.rssMiB,
    };
  } finally {
    await agent.stop();
    await receiver.close();
  }
}
