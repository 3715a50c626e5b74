// SPDX-License-Identifier: Apache-2.0
/** The executable mappings of a process, straight from /proc. */
import { readFileSync } from 'node:fs';

export interface ExecutableMapping {
  readonly start: bigint;
  readonly end: bigint;
  /** Offset of `start` in the file. */
  readonly offset: bigint;
  /** As /proc gives it: a path, perhaps with " (deleted)"; "[vdso]"; empty for anonymous memory. */
  readonly path: string;
}

/** Parses /proc/PID/maps; mappings that are not executable are left out. */
export function parseMaps(text: string): ExecutableMapping[] {
  const mappings: ExecutableMapping[] = [];
  for (const line of text.split('\n')) {
    const match = /^([0-9a-f]+)-([0-9a-f]+) ..x. ([0-9a-f]+) \S+ \d+ *(.*)$/.exec(line);
    if (!match) continue;
    const [start, end, offset] = match.slice(1, 4).map((digits) => BigInt(`0x${digits}`));
    mappings.push({ start, end, offset, path: match[4] });
  }
  return mappings;
}

export function executableMappings(pid: number): ExecutableMapping[] {
  return parseMaps(readFileSync(`/proc/${pid}/maps`, 'utf8'));
}

export function mappingOf(mappings: readonly ExecutableMapping[], address: bigint): ExecutableMapping | undefined {
  return mappings.find(({ start, end }) => start <= address && address < end);
}
