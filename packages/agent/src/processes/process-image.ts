// SPDX-License-Identifier: Apache-2.0
import type { Executable } from './executable.ts';
import type { ExecutableMapping } from './proc-fs.ts';

/** A mapping of a process image and the executable behind it, if there is one. */
export interface ImageMapping extends ExecutableMapping {
  readonly executable: Executable | undefined;
}

/** Where an address of a process lies. */
export interface Place {
  readonly mapping: ImageMapping;
  /** Offset in the mapped file. */
  readonly fileOffset: number;
  /** Virtual address in the ELF file, by its program headers; undefined while the executable is pending. */
  readonly fileAddress: number | undefined;
}

/**
 * One program that a process runs: from fork or exec to exec or exit. Samples name it by (tgid, generation), so that
 * they are read with the mappings that they were taken with, also after the process is gone.
 */
export class ProcessImage {
  readonly tgid: number;
  /** See `generations` in abi.h. */
  readonly generation: number;
  /** Sorted by start, not overlapping. Replaced, never changed in place: a child shares its parent's. */
  mappings: readonly ImageMapping[] = [];
  /** Index into the kernel's policies; 0: not selected. */
  policy: number;
  /** When it began: ns of CLOCK_MONOTONIC; 0: before the profiler. */
  readonly since: number;
  /** The kernel side has known it with the tables of all that it had mapped. */
  wasReady = false;
  comm = '';
  /** The executable's path, where it is known. */
  path: string | undefined;
  /** Set when it has ended: ms of the monotonic clock. */
  endedAt: number | undefined;

  constructor(tgid: number, generation: number, policy: number, since: number) {
    this.tgid = tgid;
    this.generation = generation;
    this.policy = policy;
    this.since = since;
  }

  /** The mapping that holds a runtime address. */
  find(address: number): ImageMapping | undefined {
    const { mappings } = this;
    let low = 0;
    let high = mappings.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (mappings[middle].start <= address) low = middle + 1;
      else high = middle;
    }
    const mapping = mappings[low - 1];
    return mapping !== undefined && address < mapping.end ? mapping : undefined;
  }

  locate(address: number): Place | undefined {
    const mapping = this.find(address);
    if (!mapping) return undefined;
    const fileOffset = mapping.offset + (address - mapping.start);
    return { mapping, fileOffset, fileAddress: fileAddressOf(mapping, address) };
  }
}

/** The virtual address in the ELF file of a runtime address inside a mapping. */
export function fileAddressOf(mapping: ImageMapping, address: number): number | undefined {
  const { executable } = mapping;
  if (!executable) return undefined;
  const base = executable.addressOfOffset(mapping.offset);
  return base === undefined ? undefined : base + (address - mapping.start);
}

/** The list with one more mapping; what it overlaps is cut away, as the kernel does. */
export function withMapping(mappings: readonly ImageMapping[], added: ImageMapping): ImageMapping[] {
  const result: ImageMapping[] = [];
  let placed = false;
  for (const mapping of mappings) {
    if (mapping.end <= added.start) {
      result.push(mapping);
      continue;
    }
    if (mapping.start < added.start) result.push({ ...mapping, end: added.start });
    if (!placed) {
      result.push(added);
      placed = true;
    }
    if (mapping.start >= added.end) result.push(mapping);
    else if (mapping.end > added.end)
      result.push({ ...mapping, start: added.end, offset: mapping.offset + (added.end - mapping.start) });
  }
  if (!placed) result.push(added);
  return result;
}
