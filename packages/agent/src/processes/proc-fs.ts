// SPDX-License-Identifier: Apache-2.0
/** What /proc tells about processes (proc(5)). Every reader returns undefined where the process is gone. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

/** An executable mapping. Addresses and offsets in bytes. */
export interface ExecutableMapping {
  readonly start: number;
  /** Exclusive. */
  readonly end: number;
  /** Offset in the file of the byte at `start`. */
  readonly offset: number;
  /** As in /proc/PID/maps: a path, `[vdso]`, or empty for anonymous memory. A deleted file's path has no suffix. */
  readonly path: string;
  /** `major:minor` in hexadecimal, as the kernel prints it. */
  readonly device: string;
  readonly inode: number;
}

/** Where a mapping list is absurdly long (a JIT that maps page by page), the rest is left out. */
export const MAX_EXECUTABLE_MAPPINGS = 1 << 14;

const MAPS_LINE = /^([0-9a-f]+)-([0-9a-f]+) (\S{4}) ([0-9a-f]+) ([0-9a-f]+:[0-9a-f]+) (\d+) *(.*)$/;

/** The executable mappings in the text of /proc/PID/maps, in order of address. Lines of another form are left out. */
export function parseMaps(text: string): ExecutableMapping[] {
  const mappings: ExecutableMapping[] = [];
  for (let from = 0; from < text.length && mappings.length < MAX_EXECUTABLE_MAPPINGS; ) {
    let to = text.indexOf('\n', from);
    if (to < 0) to = text.length;
    const permissions = text.indexOf(' ', from) + 1;
    if (permissions > from && permissions + 2 < to && text[permissions + 2] === 'x') {
      const match = MAPS_LINE.exec(text.slice(from, to));
      if (match) {
        const [, start, end, , offset, device, inode, path] = match as unknown as string[];
        const address = Number.parseInt(start, 16);
        // The vsyscall page lies in the kernel's half and is never walked.
        if (address < 2 ** 57)
          mappings.push({
            start: address,
            end: Number.parseInt(end, 16),
            offset: Number.parseInt(offset, 16),
            path: path.endsWith(' (deleted)') ? path.slice(0, -10) : path,
            device,
            inode: Number(inode),
          });
      }
    }
    from = to + 1;
  }
  return mappings;
}

export function readMaps(pid: number): ExecutableMapping[] | undefined {
  const text = read(`/proc/${pid}/maps`);
  return text === undefined ? undefined : parseMaps(text);
}

/** All processes at this moment. */
export function listProcesses(): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number);
}

/** The name of a process's main thread. */
export function readComm(pid: number): string | undefined {
  return read(`/proc/${pid}/comm`)?.replace(/\n$/, '');
}

/** The path of its executable, as it sees it itself. */
export function readExecutablePath(pid: number): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/exe`).replace(/ \(deleted\)$/, '');
  } catch {
    return undefined;
  }
}

/** The text of /proc/PID/cgroup. */
export function readCgroups(pid: number): string | undefined {
  return read(`/proc/${pid}/cgroup`);
}

/** The children of all threads of a process, and theirs, and so on. */
export function listDescendants(pid: number): number[] {
  const children = new Map<number, number[]>();
  for (const other of listProcesses()) {
    const stat = read(`/proc/${other}/stat`);
    if (stat === undefined) continue;
    // The name in parentheses may hold anything: the fields begin after the last one. Field 4 is the parent.
    const parent = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ', 2)[1]);
    const siblings = children.get(parent);
    if (siblings) siblings.push(other);
    else children.set(parent, [other]);
  }
  const found: number[] = [];
  const queue = [pid];
  for (let next = queue.pop(); next !== undefined; next = queue.pop())
    for (const child of children.get(next) ?? []) {
      found.push(child);
      queue.push(child);
    }
  return found;
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return undefined;
  }
}
