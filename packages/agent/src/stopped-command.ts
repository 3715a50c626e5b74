// SPDX-License-Identifier: Apache-2.0
/** A program that exists as a process, but does not run before it is told to: so that the profiler knows it first. */
import { type ChildProcess, spawn } from 'node:child_process';
import { accessSync, constants, statSync } from 'node:fs';
import { constants as osConstants, setPriority } from 'node:os';
import { delimiter, join } from 'node:path';
import type { Writable } from 'node:stream';
import { AgentError } from './errors.ts';

/**
 * A shell that waits for a byte and then becomes the program, keeping its process number. When the profiler ends without
 * writing the byte, the shell reads an end of file, and the program never runs.
 */
const WAIT_THEN_EXEC = 'read -r go <&3 || exit 125; exec 3<&-; exec "$0" "$@"';
const KILL_AFTER_MS = 2000;

export class StoppedCommand {
  readonly pid: number;
  /** Its exit code as a shell reports it: 128 + number after a signal. Never rejects. */
  readonly exited: Promise<number>;
  readonly #child: ChildProcess;
  #ended = false;

  private constructor(child: ChildProcess) {
    this.#child = child;
    this.pid = child.pid as number;
    this.exited = new Promise((resolve) => {
      child.once('exit', (code, signal) => {
        this.#ended = true;
        resolve(code ?? 128 + (signal === null ? 0 : osConstants.signals[signal]));
      });
    });
  }

  /** @param argv `argv[0]` is a path, or a name to be looked for on PATH. */
  static async start(argv: readonly string[], stdout: 'inherit' | 'stderr'): Promise<StoppedCommand> {
    const child = spawn('/bin/sh', ['-c', WAIT_THEN_EXEC, ...argv], {
      stdio: ['inherit', stdout === 'inherit' ? 'inherit' : 2, 'inherit', 'pipe'],
    });
    await new Promise<void>((resolve, reject) => {
      child.once('spawn', resolve);
      child.once('error', (cause) => {
        reject(new AgentError('command_not_found', `cannot start ${argv[0]}: ${cause.message}`, '', { cause }));
      });
    });
    // The profiler's own priority is not for what it records.
    setPriority(child.pid as number, 0);
    return new StoppedCommand(child);
  }

  /** Lets it run. */
  resume(): void {
    const gate = this.#child.stdio[3] as Writable;
    gate.on('error', () => {}); // it was killed while it waited
    gate.end('\n');
  }

  /** Ends it: SIGTERM, and SIGKILL if it has not ended two seconds later. Does nothing when it has ended already. */
  async terminate(): Promise<void> {
    if (this.#ended) return;
    this.#child.kill('SIGTERM');
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), KILL_AFTER_MS);
    await this.exited;
    clearTimeout(timer);
  }
}

/** Where a command is found, as a shell looks for it. Throws `command_not_found` with what is wrong. */
export function findCommand(name: string, path: string | undefined): string {
  if (name.includes('/')) {
    const problem = problemOf(name);
    if (problem === undefined) return name;
    throw new AgentError('command_not_found', `${name}: ${problem}`, 'give the path of a program');
  }
  let found: string | undefined;
  for (const directory of (path ?? '/usr/local/bin:/usr/bin:/bin').split(delimiter)) {
    const candidate = join(directory === '' ? '.' : directory, name);
    const problem = name === '' ? 'no such file' : problemOf(candidate);
    if (problem === undefined) return candidate;
    if (problem !== 'no such file') found ??= `${candidate}: ${problem}`;
  }
  const message = found ?? `command not found: ${name || "''"}`;
  throw new AgentError('command_not_found', message, 'check its spelling, or give its path');
}

function problemOf(path: string): string | undefined {
  try {
    if (statSync(path).isDirectory()) return 'is a directory';
  } catch {
    return 'no such file';
  }
  try {
    accessSync(path, constants.X_OK);
    return undefined;
  } catch {
    return 'is not executable';
  }
}
