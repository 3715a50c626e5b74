// SPDX-License-Identifier: Apache-2.0
/** Who a process is: what `/proc/<pid>` says that does not change while it runs the same program. */
import { readFileSync, readlinkSync } from 'node:fs';
import { basename } from 'node:path';

export interface ProcessIdentity {
  readonly pid: number;
  readonly parent: number;
  /** The process that this number is a thread of; equal to `pid` for processes. */
  readonly threadGroup: number;
  /** Name of the main thread, at most 15 bytes: what the kernel calls `comm`. */
  readonly name: string;
  /** One letter as in proc_pid_stat(5): R, S, D, T, Z (ended, not yet waited for), X. */
  readonly state: string;
  /** Clock ticks since boot; with `pid` it names a process for good, as numbers are reused. */
  readonly startTicks: bigint;
  /** A thread of the kernel, without user memory. */
  readonly kernelThread: boolean;
  /** Path of the running program as the process sees it; empty for kernel threads and where it may not be read. */
  readonly executable: string;
  /** The executable was replaced or removed since it was started. */
  readonly executableDeleted: boolean;
  readonly commandLine: readonly string[];
}

const MAX_COMMAND_LINE = 4096;
const PF_KTHREAD = 0x0020_0000; // include/linux/sched.h

/** Undefined when there is no such process (any more). */
export function readProcessIdentity(pid: number, procRoot = '/proc'): ProcessIdentity | undefined {
  const directory = `${procRoot}/${pid}`;
  try {
    const stat = parseStat(readFileSync(`${directory}/stat`, 'utf8'));
    const threadGroup = /^Tgid:\s*([0-9]+)$/m.exec(readFileSync(`${directory}/status`, 'utf8'))?.[1];
    if (stat === undefined || threadGroup === undefined) return undefined;
    const link = stat.kernelThread ? '' : readLink(`${directory}/exe`);
    const executable = link.replace(/ \(deleted\)$/, '');
    return {
      ...stat,
      pid,
      threadGroup: Number(threadGroup),
      executable,
      executableDeleted: executable !== link,
      commandLine: parseCommandLine(readFileSync(`${directory}/cmdline`)),
    };
  } catch {
    return undefined; // ended meanwhile
  }
}

type StatFields = Pick<ProcessIdentity, 'name' | 'state' | 'parent' | 'startTicks' | 'kernelThread'>;

/** The text of `/proc/<pid>/stat`; the name may hold blanks, parentheses and line ends. */
export function parseStat(text: string): StatFields | undefined {
  const open = text.indexOf('(');
  const close = text.lastIndexOf(')');
  if (open < 0 || close < open) return undefined;
  const fields = text.slice(close + 2).split(' '); // from field 3 of proc_pid_stat(5) on
  if (fields.length < 20 || !/^[0-9]+$/.test(fields[19]) || !/^[0-9]+$/.test(fields[6])) return undefined;
  return {
    name: text.slice(open + 1, close),
    state: fields[0],
    parent: Number(fields[1]),
    kernelThread: (Number(fields[6]) & PF_KTHREAD) !== 0,
    startTicks: BigInt(fields[19]),
  };
}

/** The bytes of `/proc/<pid>/cmdline`. A process may have written anything there: cut, and split at zero bytes. */
export function parseCommandLine(bytes: Uint8Array): string[] {
  const text = Buffer.from(bytes.subarray(0, MAX_COMMAND_LINE)).toString('utf8').replace(/\0+$/, '');
  return text === '' ? [] : text.split('\0');
}

/**
 * What to call a process. The name of the main thread is cut after 15 bytes, and some programs rename the thread (Node.js:
 * `MainThread`). So: the file name of the program or script that it is the beginning of; else that of the executable.
 */
export function displayName(identity: Pick<ProcessIdentity, 'name' | 'executable' | 'commandLine'>): string {
  const { name, executable, commandLine } = identity;
  const candidates = [executable, ...commandLine.slice(0, 2)].map((path) => basename(path));
  const whole = candidates.find((candidate) => candidate !== '' && candidate.startsWith(name));
  return whole ?? (candidates[0] || name);
}

function readLink(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return '';
  }
}
