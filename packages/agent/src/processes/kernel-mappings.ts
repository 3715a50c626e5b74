// SPDX-License-Identifier: Apache-2.0
import type { ImageMapping } from './process-image.ts';
import { fileAddressOf } from './process-image.ts';

/** How the kernel unwinds an address: names of enum mapping_kind in abi.h. */
export type KernelMappingKind = 'table' | 'pending' | 'noTable' | 'anonymous' | 'failed';

/** A `struct mapping` of the kernel side. */
export interface KernelMapping {
  readonly start: number;
  readonly end: number;
  readonly kind: KernelMappingKind;
  /** Kind `table`: the segment, and the runtime address of the first byte that it covers. */
  readonly segment: number;
  readonly base: number;
}

/** The kernel's entries for the mappings of an image, sorted by address. */
export function kernelMappings(mappings: readonly ImageMapping[]): KernelMapping[] {
  const entries: KernelMapping[] = [];
  for (const mapping of mappings) {
    const { executable, start, end } = mapping;
    if (!executable) {
      // A file that could not be opened is not a JIT's memory: its frames fail for another reason.
      addPlain(entries, start, end, mapping.path.startsWith('/') && mapping.inode !== 0 ? 'failed' : 'anonymous');
    } else if (executable.state !== 'ready') {
      addPlain(entries, start, end, executable.state);
    } else {
      const first = fileAddressOf(mapping, start);
      if (first === undefined) {
        addPlain(entries, start, end, 'noTable');
        continue;
      }
      const bias = start - first;
      let reached = start;
      for (const segment of executable.segments) {
        const from = Math.max(start, segment.textStart + bias);
        const to = Math.min(end, segment.textEnd + bias);
        if (from >= to) continue;
        if (from > reached) addPlain(entries, reached, from, 'noTable');
        entries.push({ start: from, end: to, kind: 'table', segment: segment.number, base: segment.textStart + bias });
        reached = to;
      }
      if (reached < end) addPlain(entries, reached, end, 'noTable');
    }
  }
  return entries;
}

/** Adds an entry without a segment, joined with the one before where nothing distinguishes them: JITs map page by page. */
function addPlain(entries: KernelMapping[], start: number, end: number, kind: KernelMappingKind): void {
  const last = entries.at(-1);
  if (last && last.kind === kind && last.end === start) entries[entries.length - 1] = { ...last, end };
  else entries.push({ start, end, kind, segment: 0, base: start });
}
