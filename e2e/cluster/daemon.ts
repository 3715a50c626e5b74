// SPDX-License-Identifier: Apache-2.0
/**
 * A background process with a log file and a pid file, which ends with the program that started it or, when `detached`,
 * outlives it and can be found again by its pid file.
 */
import { spawn } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { waitUntil } from './wait-until.ts';

export interface DaemonOptions {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  /** Holds `<name>.log` (appended to) and `<name>.pid`. */
  readonly directory: string;
  readonly env?: Readonly<Record<string, string>>;
  /** True: it goes on after this program. False (default): the kernel kills it when this program ends, however it ends. */
  readonly detached?: boolean;
}

export class Daemon {
  readonly name: string;
  readonly pid: number;
  readonly #directory: string;
  /** Start time in clock ticks since boot: tells this process from a later one with the same pid. */
  readonly #startTime: string;

  private constructor(name: string, directory: string, pid: number, startTime: string) {
    this.name = name;
    this.#directory = directory;
    this.pid = pid;
    this.#startTime = startTime;
  }

  static start({ name, command, args, directory, env, detached = false }: DaemonOptions): Daemon {
    mkdirSync(directory, { recursive: true });
    const log = openSync(join(directory, `${name}.log`), 'a');
    // setpriv arms PR_SET_PDEATHSIG and becomes the program, so the pid is the program's.
    const [file, ...rest] = detached ? [command, ...args] : ['setpriv', '--pdeathsig', 'KILL', command, ...args];
    const child = spawn(file, rest, {
      stdio: ['ignore', log, log],
      env: { ...process.env, ...env },
      detached: true, // a session of its own: Ctrl-C reaches the tests, which then stop the daemons in order
    });
    closeSync(log);
    child.on('error', () => {}); // the pid is then undefined: reported below
    if (child.pid === undefined) throw new Error(`${name}: cannot start ${file}`);
    child.unref();
    const startTime = processState(child.pid)?.startTime ?? '';
    writeFileSync(join(directory, `${name}.pid`), `${child.pid} ${startTime}\n`);
    return new Daemon(name, directory, child.pid, startTime);
  }

  /** The daemon of that name which an earlier program left in `directory`, if it is still running. */
  static find(directory: string, name: string): Daemon | undefined {
    const file = join(directory, `${name}.pid`);
    if (!existsSync(file)) return undefined;
    const [pid, startTime] = readFileSync(file, 'utf8').trim().split(' ');
    const daemon = new Daemon(name, directory, Number(pid), startTime ?? '');
    return daemon.isRunning() ? daemon : undefined;
  }

  /** A zombie counts as ended: where PID 1 reaps late, `kill(pid, 0)` succeeds on one for seconds. */
  isRunning(): boolean {
    const state = processState(this.pid);
    return state !== undefined && state.startTime === this.#startTime && state.state !== 'Z' && state.state !== 'X';
  }

  /** Sends a signal; a process that has ended is left alone. */
  signal(signal: NodeJS.Signals): void {
    if (this.isRunning()) process.kill(this.pid, signal);
  }

  /** Ends it with `signal`, after `grace` milliseconds with SIGKILL, and waits until it has ended. */
  async stop(signal: NodeJS.Signals = 'SIGTERM', grace = 15_000): Promise<void> {
    this.signal(signal);
    const ended = () => !this.isRunning();
    await waitUntil(`${this.name} to end`, ended, { timeout: grace, interval: 25 }).catch(async () => {
      this.signal('SIGKILL');
      await waitUntil(`${this.name} to end after SIGKILL`, ended, { timeout: 10_000, interval: 25 });
    });
    rmSync(join(this.#directory, `${this.name}.pid`), { force: true });
  }

  /** The end of its log, for error messages. */
  logTail(lines = 20): string {
    const path = join(this.#directory, `${this.name}.log`);
    return existsSync(path) ? readFileSync(path, 'utf8').trimEnd().split('\n').slice(-lines).join('\n') : '';
  }

  /** Waits for `probe`, and gives up at once when the process ends. @throws Error with the end of its log. */
  async waitUntilReady(probe: () => unknown | Promise<unknown>, timeout = 180_000): Promise<void> {
    let ended = false;
    await waitUntil(
      `${this.name} to be ready`,
      async () => {
        ended = !this.isRunning();
        return ended || (await probe());
      },
      { timeout },
    ).catch((error: Error) => {
      throw new Error(`${error.message}\n${this.logTail()}`, { cause: error });
    });
    if (ended) throw new Error(`${this.name} ended while it was starting\n${this.logTail()}`);
  }
}

/** State letter and start time of a process from /proc/<pid>/stat (proc(5)), or undefined when it does not exist. */
function processState(pid: number): { state: string; startTime: string } | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return { state: fields[0], startTime: fields[19] };
  } catch {
    return undefined;
  }
}
