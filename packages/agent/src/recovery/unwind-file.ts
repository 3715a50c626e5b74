// SPDX-License-Identifier: Apache-2.0
/** An executable as the unwinder reads it: what is known of the frame at an address, and the bytes of its code. */
import { type ElfFile, loadSegmentAt, PT_LOAD, parseElf } from '../elf/file.ts';
import { type ByteSource, readBytes } from '../elf/source.ts';
import { buildUnwindTable } from '../unwind-table/build.ts';
import type { UnwindSegment } from '../unwind-table/encode.ts';
import { findRule } from '../unwind-table/lookup.ts';
import type { UnwindRule } from '../unwind-table/row.ts';
import { type Row, rowAt } from './call-frame-row.ts';
import { type FrameDescriptions, openDebugFrames, openEhFrames } from './frame-description.ts';

/**
 * - `row`: of the call frame information
 * - `rule`: there is none, but other knowledge (Go's tables, analysis of the code, entry code) in the kernel side's form
 * - `malformed`: there is call frame information that cannot be understood
 * - `none`: nothing is known
 */
export type FrameKnowledge =
  | { readonly kind: 'row'; readonly row: Row; readonly raColumn: number; readonly isSignal: boolean }
  | { readonly kind: 'rule'; readonly rule: UnwindRule }
  | { readonly kind: 'malformed' | 'none' };

const NONE: FrameKnowledge = { kind: 'none' };
const MALFORMED: FrameKnowledge = { kind: 'malformed' };

/** Addresses whose knowledge is kept; a walk of a deep recursion asks for the same few again and again. */
const MAX_CACHED = 1 << 13;
const PAGE = 4096;

export class UnwindFile {
  readonly #file: ElfFile;
  readonly #source: ByteSource;
  readonly #frames: readonly FrameDescriptions[];
  readonly #known = new Map<number, FrameKnowledge>();
  /** Made when an address without call frame information is met. */
  #table: { readonly segments: readonly UnwindSegment[] } | undefined;

  /** Throws ElfError where the file is not a usable ELF file, and what the source throws on I/O errors. */
  constructor(source: ByteSource) {
    this.#source = source;
    this.#file = parseElf(source);
    this.#frames = [openEhFrames(this.#file, source), openDebugFrames(this.#file, source)].filter(
      (frames) => frames !== undefined,
    );
  }

  /** Estimate of the memory that it takes, in bytes. */
  get memoryBytes(): number {
    const index = this.#frames.reduce((sum, frames) => sum + frames.indexBytes, 0);
    const table = this.#table?.segments.reduce((sum, segment) => sum + segment.byteLength, 0) ?? 0;
    return (1 << 18) + index + table + 400 * this.#known.size;
  }

  /** The file virtual address of the byte at a file offset that begins a mapping. */
  addressOfOffset(offset: number): number | undefined {
    const load = this.#file.programHeaders.find(
      (h) => h.type === PT_LOAD && offset >= h.offset - (h.offset % PAGE) && offset < h.offset + h.fileSize,
    );
    return load && load.address + (offset - load.offset);
  }

  /** What is known of the frame whose code is at a file address. */
  at(address: number): FrameKnowledge {
    let known = this.#known.get(address);
    if (!known) {
      known = this.#find(address);
      if (this.#known.size >= MAX_CACHED) this.#known.clear();
      this.#known.set(address, known);
    }
    return known;
  }

  /** Up to `length` bytes of loaded memory as the file has them; fewer at the end of what is loaded. */
  bytesAt(address: number, length: number): Uint8Array {
    const segment = loadSegmentAt(this.#file, address);
    if (!segment) return new Uint8Array(0);
    const offset = segment.offset + (address - segment.address);
    const available = Math.min(length, segment.address + segment.fileSize - address, this.#source.size - offset);
    return available > 0 ? readBytes(this.#source, offset, available, 'memory') : new Uint8Array(0);
  }

  #find(address: number): FrameKnowledge {
    for (const frames of this.#frames) {
      const description = frames.find(address);
      if (!description) continue;
      const row = rowAt(description, address);
      const { raColumn, isSignal } = description.cie;
      return row ? { kind: 'row', row, raColumn, isSignal } : MALFORMED;
    }
    this.#table ??= this.#buildTable();
    const rule = findRule(this.#table, address);
    return rule ? { kind: 'rule', rule } : NONE;
  }

  #buildTable(): { readonly segments: readonly UnwindSegment[] } {
    try {
      return { segments: buildUnwindTable(this.#file, this.#source).segments };
    } catch {
      return { segments: [] }; // there is no more to be known of this file
    }
  }
}
