// SPDX-License-Identifier: Apache-2.0
/** CPU time and memory of the agent, bundled as in production, on a machine whose CPUs are all busy. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { startGrpcReceiver } from '../packages/agent/src/export/otlp-receiver.ts';
import type { Table } from './table.ts';
import { startRecursion } from './walk.ts';

const root = join(import.meta.dirname, '..');

export interface AgentProcess {
  readonly pid: number;
  stop(): Promise<void>;
}

/** Starts the bundled agent and waits until it profiles. */
export async function startBundledAgent(frequency: number, endpoint: string): Promise<AgentProcess> {
  const folder = mkdtempSync(join(tmpdir(), 'plumbline-bench-'));
  const { status, stderr } = spawnSync(process.execPath, ['scripts/bundle.ts'], { cwd: root, encoding: 'utf8' });
  if (status !== 0) throw new Error(`bundling failed:\n${stderr}`);
  cpSync(join(root, 'dist/agent'), folder, { recursive: true });
  for (const file of ['addon.node', 'profiler.bpf.o', 'deferred.bpf.o', 'deferred_impl.bpf.o'])
    cpSync(join(root, 'packages/bpf/build', file), join(folder, file));
  const config = join(folder, 'node.yaml');
  writeFileSync(
    config,
    [
      `sampling: { frequencyHz: ${frequency} }`,
      'budget: { onExceeded: Report }',
      `exports: [{ otlp: { endpoint: "${endpoint}" } }]`,
      `agent: { listen: "127.0.0.1:0", stateDirectory: "${folder}/state" }`,
      '',
    ].join('\n'),
  );
  cpSync(join(root, 'bin/plumbline'), join(folder, 'plumbline')); // starts the bundle beside it
  const child: ChildProcess = spawn(join(folder, 'plumbline'), ['agent', '--config', config], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...process.env, PLUMBLINE_NODE: process.execPath },
  });
  let log = '';
  child.stderr?.on('data', (data) => {
    log += data;
  });
  for (let i = 0; !log.includes('configuration applied'); i++) {
    if (child.exitCode !== null || i > 1200) {
      child.kill('SIGKILL');
      throw new Error(`the agent did not start:\n${log}`);
    }
    await delay(100);
  }
  return {
    pid: child.pid as number,
    async stop() {
      child.kill('SIGTERM');
      if (child.exitCode === null) await new Promise((resolve) => child.once('exit', resolve));
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** CPU time so far in seconds, and resident memory now in MiB. */
export function processCost(pid: number): { cpuSeconds: number; rssMiB: number; anonMiB: number } {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const kib = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(status)?.[1] ?? 0);
  return {
    cpuSeconds: (Number(fields[11]) + Number(fields[12])) / 100, // USER_HZ
    rssMiB: kib('VmRSS') / 1024,
    anonMiB: kib('RssAnon') / 1024,
  };
}

export async function benchAgentCost(brief: boolean): Promise<Table> {
  const seconds = brief ? 20 : 60;
  const rows: string[][] = [];
  const receiver = await startGrpcReceiver();
  const load = await startRecursion(32);
  try {
    for (const frequency of [19, 99]) {
      const agent = await startBundledAgent(frequency, receiver.endpoint);
      try {
        await delay(15_000); // the first report reads symbols
        const before = processCost(agent.pid);
        let peak = 0;
        for (let i = 0; i < seconds; i++) {
          await delay(1000);
          peak = Math.max(peak, processCost(agent.pid).rssMiB);
        }
        const after = processCost(agent.pid);
        rows.push([
          `${frequency} Hz`,
          `${((100 * (after.cpuSeconds - before.cpuSeconds)) / seconds).toFixed(2)} %`,
          `${Math.round(after.rssMiB)} MiB`,
          `${Math.round(after.anonMiB)} MiB`,
          `${Math.round(peak)} MiB`,
        ]);
      } finally {
        await agent.stop();
      }
    }
  } finally {
    await load.stop();
    await receiver.close();
  }
  return {
    title: 'The agent',
    command: 'make bench (case agent)',
    head: ['both CPUs busy', 'CPU of one core', 'resident', 'anonymous', 'peak resident'],
    rows,
    notes: [`Bundled, ${seconds} s after the first report, all processes of the machine, OTLP over gRPC every 10 s.`],
  };
}
