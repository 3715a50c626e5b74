// SPDX-License-Identifier: Apache-2.0
import { BLOCK_SHIFT, BLOCK_SIZE, type UnwindSegment } from './encode.ts';
import { type UnwindRule, unpackRule } from './row.ts';

/** The segment that covers an address, or undefined. Segments are sorted by address. */
export function findSegment(segments: readonly UnwindSegment[], address: number): UnwindSegment | undefined {
  let low = 0;
  let high = segments.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (segments[middle].textStart <= address) low = middle + 1;
    else high = middle;
  }
  const segment = segments[low - 1];
  return segment !== undefined && address < segment.textEnd ? segment : undefined;
}

/** Index of the row in force at an address inside the segment, found as the kernel side finds it. */
export function findRow(segment: UnwindSegment, address: number): number {
  const offset = address - segment.textStart;
  const block = Math.floor(offset / BLOCK_SIZE);
  const inside = offset - block * BLOCK_SIZE;
  let row = segment.index[block];
  const end = segment.index[block + 1];
  while (row < end && segment.rows[row] >>> 16 <= inside) row++;
  return row - 1;
}

/** The rule at a file virtual address; undefined outside of the table's text. */
export function findRule(table: { segments: readonly UnwindSegment[] }, address: number): UnwindRule | undefined {
  const segment = findSegment(table.segments, address);
  if (segment === undefined) return undefined;
  return unpackRule(segment.rules, segment.rows[findRow(segment, address)] & 0xffff);
}

/** Calls `visit` for each row of a segment with the address at which it starts and its rule number. */
export function eachRow(segment: UnwindSegment, visit: (address: number, ruleNumber: number) => void): void {
  for (let block = 0; block + 1 < segment.index.length; block++) {
    const base = segment.textStart + (block << BLOCK_SHIFT);
    for (let row = segment.index[block]; row < segment.index[block + 1]; row++) {
      visit(base + (segment.rows[row] >>> 16), segment.rows[row] & 0xffff);
    }
  }
}
