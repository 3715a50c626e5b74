// SPDX-License-Identifier: Apache-2.0
/** An executable as the unwinder reads it: what is known of the frame at an address, and the bytes of its code. */
import { ElfError } from '../elf/errors.ts';
import { type ElfFile, loadSegmentAt, PF_X, type ProgramHeader, PT_LOAD, parseElf } from '../elf/file.ts';
import { openGoPclntab } from '../elf/go-pclntab.ts';
import { type ByteSource, readBytes } from '../elf/source.ts';
import { GoLayer } from '../unwind-table/go-pclntab.ts';
import { RuleSet, type UnwindRule } from '../unwind-table/row.ts';
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

/**
 * Thrown by `UnwindFile.at`: there is no call frame information of the address. What else is known is in the kernel side's
 * table: `learn` takes it from there.
 */
export class RuleNeeded extends Error {
  readonly file: UnwindFile;
  readonly address: number;

  constructor(file: UnwindFile, address: number) {
    super('the rule of the kernel side is needed');
    this.file = file;
    this.address = address;
  }
}

export class UnwindFile {
  readonly #file: ElfFile;
  readonly #source: ByteSource;
  readonly #ehFrames: FrameDescriptions | undefined;
  readonly #debugFrames: FrameDescriptions | undefined;
  readonly #goRules = new RuleSet();
  readonly #go: GoLayer | undefined;
  readonly #known = new Map<number, FrameKnowledge>();

  /** Throws ElfError where the file is not a usable ELF file, and what the source throws on I/O errors. */
  constructor(source: ByteSource) {
    this.#source = source;
    const file = parseElf(source);
    this.#file = file;
    this.#ehFrames = openEhFrames(file, source);
    this.#debugFrames = openDebugFrames(file, source);
    this.#go = openGo(file, source, this.#goRules);
  }

  /** Estimate of the memory that it takes, in bytes. */
  get memoryBytes(): number {
    const index = (this.#ehFrames?.indexBytes ?? 0) + (this.#debugFrames?.indexBytes ?? 0);
    return (1 << 18) + index + 400 * this.#known.size;
  }

  /** The file virtual address of the byte at a file offset that begins an executable mapping. */
  addressOfOffset(offset: number): number | undefined {
    const holds = (h: ProgramHeader) => offset >= h.offset - (h.offset % PAGE) && offset < h.offset + h.fileSize;
    // Two segments may share a page of the file.
    const load = this.#file.programHeaders.find((h) => h.type === PT_LOAD && (h.flags & PF_X) !== 0 && holds(h));
    return load && load.address + (offset - load.offset);
  }

  /** What is known of the frame whose code is at a file address. Throws RuleNeeded. */
  at(address: number): FrameKnowledge {
    let known = this.#known.get(address);
    if (!known) {
      known = this.#find(address);
      this.#remember(address, known);
    }
    return known;
  }

  /** The rule at a file address in the kernel side's table; undefined: it has none. */
  learn(address: number, rule: UnwindRule | undefined): void {
    this.#remember(address, rule ? { kind: 'rule', rule } : NONE);
  }

  #remember(address: number, known: FrameKnowledge): void {
    if (this.#known.size >= MAX_CACHED) this.#known.clear();
    this.#known.set(address, known);
  }

  /** Up to `length` bytes of loaded memory as the file has them; fewer at the end of what is loaded. */
  bytesAt(address: number, length: number): Uint8Array {
    const segment = loadSegmentAt(this.#file, address);
    if (!segment) return new Uint8Array(0);
    const offset = segment.offset + (address - segment.address);
    const available = Math.min(length, segment.address + segment.fileSize - address, this.#source.size - offset);
    return available > 0 ? readBytes(this.#source, offset, available, 'memory') : new Uint8Array(0);
  }

  /** In the order of the kernel side's tables. */
  #find(address: number): FrameKnowledge {
    const known =
      knowledgeOf(this.#ehFrames, address) ?? this.#findGo(address) ?? knowledgeOf(this.#debugFrames, address);
    if (!known) throw new RuleNeeded(this, address);
    return known;
  }

  #findGo(address: number): FrameKnowledge | undefined {
    let found: number | undefined;
    const sink = {
      add(start: number, end: number, rule: number) {
        if (address >= start && address < end) found = rule;
      },
    };
    this.#go?.cover(address, address + 1, sink, () => {});
    return found === undefined ? undefined : { kind: 'rule', rule: this.#goRules.rule(found) };
  }
}

function knowledgeOf(frames: FrameDescriptions | undefined, address: number): FrameKnowledge | undefined {
  const description = frames?.find(address);
  if (!description) return undefined;
  const row = rowAt(description, address);
  const { raColumn, isSignal } = description.cie;
  return row ? { kind: 'row', row, raColumn, isSignal } : MALFORMED;
}

function openGo(file: ElfFile, source: ByteSource, rules: RuleSet): GoLayer | undefined {
  try {
    const table = openGoPclntab(file, source);
    return table && new GoLayer(table, file, source, rules);
  } catch (error) {
    if (error instanceof ElfError) return undefined; // of a version unknown
    throw error;
  }
}
