// SPDX-License-Identifier: Apache-2.0
/**
 * Real programs as workloads: programs that nobody here wrote, kept busy for a bounded time, on loopback, with their data in
 * a directory of their own. All that runs of one workload descends from one process, whose pid is known before anything of it
 * has started, so that a profiler can follow it from the first instruction on.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { accessSync, constants, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { setPriority, tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { waitUntil } from '../cluster/wait-until.ts';

export interface Program {
  readonly name: string;
  /** What it runs deep in, in a few words. */
  readonly about: string;
  /** Programs that must be installed: names on PATH, or absolute paths. */
  readonly needs: readonly string[];
  /** Name (comm) of the processes that the workload is about. */
  readonly comm: string;
  /** Writes the program's input into `directory`; says how to run it. */
  prepare(directory: string): Promise<Preparation> | Preparation;
}

export interface Preparation {
  /** A shell script; it must not end by itself within `SECONDS`, nor go on much longer. */
  readonly script: string;
  /** Environment of the script. */
  readonly env?: Readonly<Record<string, string>>;
  /** Starts what keeps the program busy from outside, once it is ready; the processes are ended with the workload. */
  readonly load?: () => Promise<ChildProcess[]>;
  /** The signal that ends the program in good order. Default: SIGKILL. */
  readonly endSignal?: NodeJS.Signals;
}

export interface Workload {
  readonly program: Program;
  /** Of the process that all others descend from. It waits until `go()`. */
  readonly pid: number;
  /** Lets it run and waits until a process called `program.comm` does. */
  go(): Promise<void>;
  /** Processes called `program.comm` that run right now, oldest first. */
  processes(): number[];
  /** Ends all processes and removes the data. */
  stop(): Promise<void>;
}

/** For how long a workload runs unless it is stopped. */
export const WORKLOAD_SECONDS = 120;

/** The first of `names` (names on PATH or paths) that is an executable file. */
export function findProgram(...names: string[]): string | undefined {
  for (const name of names) {
    const paths = name.includes('/')
      ? [name]
      : (process.env.PATH ?? '').split(delimiter).map((path) => join(path, name));
    const found = [...paths, join('/usr/sbin', name)].find((path) => {
      try {
        accessSync(path, constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });
    if (found) return found;
  }
  return undefined;
}

/** What the program needs and this machine does not have. */
export function missingFor(program: Program): string[] {
  return program.needs.filter((name) => findProgram(name) === undefined);
}

interface Process {
  readonly pid: number;
  readonly parent: number;
  readonly comm: string;
  readonly state: string;
  /** In clock ticks since boot: a pid with another start is another process. */
  readonly start: string;
}

function allProcesses(): Process[] {
  const processes: Process[] = [];
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    try {
      const stat = readFileSync(`/proc/${entry}/stat`, 'utf8');
      const [state, parent, ...rest] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      const comm = stat.slice(stat.indexOf('(') + 1, stat.lastIndexOf(')'));
      processes.push({ pid: Number(entry), comm, state, parent: Number(parent), start: rest[17] });
    } catch {
      // It ended meanwhile.
    }
  }
  return processes;
}

/** Whether such a process exists; a zombie does not run. */
export function isRunning(pid: number): boolean {
  return allProcesses().some((process) => process.pid === pid && process.state !== 'Z');
}

/** The process and all that descend from it, ancestors first; zombies are left out. */
export function descendants(pid: number): Process[] {
  const all = allProcesses();
  const family = all.filter((process) => process.pid === pid);
  for (const member of family) family.push(...all.filter(({ parent }) => parent === member.pid));
  return family.filter(({ state }) => state !== 'Z');
}

function kill(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It ended meanwhile.
  }
}

/** A child that ends with this process. Its output is kept from the terminal; standard error is told when it fails early. */
export function spawnBound(
  command: readonly string[],
  options: { cwd?: string; env?: NodeJS.ProcessEnv } = {},
): ChildProcess {
  return spawn('setpriv', ['--pdeathsig', 'KILL', ...command], { ...options, stdio: ['pipe', 'ignore', 'pipe'] });
}

/** Workloads leave whoever measures them a turn on a busy machine. */
const NICENESS = 10;

/** Lays a workload out and starts the process that it will descend from, waiting. */
export async function startWorkload(program: Program): Promise<Workload> {
  const directory = mkdtempSync(join(tmpdir(), `plumbline-${program.name}-`));
  const { script, env, load, endSignal = 'SIGKILL' } = await program.prepare(directory);
  const root = spawnBound(['sh', '-c', `read go && ${script}`], {
    cwd: directory,
    env: { ...process.env, SECONDS: `${WORKLOAD_SECONDS}`, ...env },
  });
  if (root.pid !== undefined) setPriority(root.pid, NICENESS);
  let complaint = '';
  root.stderr!.on('data', (text) => {
    complaint = `${complaint}${text}`.slice(-4000);
  });
  root.on('error', (error) => {
    complaint += error.message;
  });
  const closed = once(root, 'exit');
  let drivers: ChildProcess[] = [];
  const pid = root.pid!;

  const processes = () =>
    descendants(pid)
      .filter(({ comm }) => comm === program.comm)
      .map((process) => process.pid);
  const go = async () => {
    root.stdin!.end('\n');
    await waitUntil(`${program.name} to run`, () => {
      if (root.exitCode !== null) throw new Error(`it ended with code ${root.exitCode}: ${complaint.trim()}`);
      return processes().length > 0;
    });
    drivers = (await load?.()) ?? [];
  };
  const stop = async () => {
    const family = [pid, ...drivers.map((driver) => driver.pid!)].flatMap(descendants);
    for (const driver of drivers) driver.kill('SIGKILL');
    if (root.exitCode === null && root.signalCode === null) {
      kill(pid, endSignal);
      await Promise.race([closed, delay(10_000, undefined, { ref: false })]);
    }
    const isLeft = (member: Process) =>
      allProcesses().some(({ pid, start, state }) => pid === member.pid && start === member.start && state !== 'Z');
    for (const member of family) if (isLeft(member)) kill(member.pid, 'SIGKILL');
    await waitUntil(`${program.name} to end`, () => !family.some(isLeft), { interval: 20 });
    rmSync(directory, { recursive: true, force: true, maxRetries: 5 });
  };
  return { program, pid, go, processes, stop };
}
