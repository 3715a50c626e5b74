// SPDX-License-Identifier: Apache-2.0
/**
 * The entry of `.eh_frame` or `.debug_frame` that describes the function at an address, one at a time: through the search
 * table of `.eh_frame_hdr`, or an index of the section that is made when it is first needed. It shares no code with the
 * tables of the kernel side but the reading of single values, so that the two check each other.
 * Sources: DWARF 5, section 6.4.1; Linux Standard Base, "Exception Frames".
 */
import { isCompressed } from '../elf/compression.ts';
import { ElfError } from '../elf/errors.ts';
import {
  addressToOffset,
  type ElfFile,
  findSection,
  loadSegmentAt,
  PT_GNU_EH_FRAME,
  readAddress,
  readSection,
  SHT_NOBITS,
} from '../elf/file.ts';
import { PagedBytes } from '../elf/paged-bytes.ts';
import { type ByteSource, bytesSource } from '../elf/source.ts';
import { Cursor } from '../unwind-table/cursor.ts';
import { DW_EH_PE_absptr, type PointerBases, readPointer, readValue } from '../unwind-table/pointer-encoding.ts';
import { SectionWindow } from '../unwind-table/section-window.ts';

/** What the functions of a compilation have in common. */
export interface CommonInformation {
  readonly codeAlign: number;
  readonly dataAlign: number;
  /** Column of the return address. */
  readonly raColumn: number;
  /** Encoding of addresses in its descriptions. */
  readonly encoding: number;
  readonly hasLength: boolean;
  /** Its frames were made by the kernel to deliver a signal. */
  readonly isSignal: boolean;
  readonly instructions: Uint8Array;
}

export interface FrameDescription {
  /** File addresses of the function: [start, end). */
  readonly start: number;
  readonly end: number;
  readonly cie: CommonInformation;
  readonly instructions: Uint8Array;
  /** Of pointers inside the instructions. */
  readonly bases: PointerBases;
}

const MAX_ENTRY_SIZE = 1 << 24;
const MAX_INDEXED = 1 << 21;
const MAX_CIES = 4096;
const MAX_INFLATED = 1 << 26;
const DATAREL_SDATA4 = 0x3b;

interface Entry {
  readonly cursor: Cursor;
  /** Offset in the section of byte 0 of the cursor's bytes, of its CIE, and of the next entry. */
  readonly base: number;
  readonly cieAt: number | undefined;
  readonly next: number;
}

export class FrameDescriptions {
  readonly #window: SectionWindow;
  readonly #isEh: boolean;
  readonly #endsWithTerminator: boolean;
  readonly #bases: Pick<PointerBases, 'text' | 'data'>;
  readonly #search: SearchTable | undefined;
  readonly #cies = new Map<number, CommonInformation | undefined>();
  /** Start addresses and places of all descriptions, sorted; only where there is no search table. */
  #index: { readonly starts: Float64Array; readonly offsets: Uint32Array } | undefined;

  constructor(
    window: SectionWindow,
    options: {
      isEh: boolean;
      /** The size is only an upper bound: an entry of length zero ends the section. */
      endsWithTerminator?: boolean;
      textBase?: number;
      search?: SearchTable;
    },
  ) {
    this.#window = window;
    this.#isEh = options.isEh;
    this.#endsWithTerminator = options.endsWithTerminator === true;
    this.#bases = { text: options.textBase ?? Number.NaN, data: Number.NaN };
    this.#search = options.search;
  }

  /** Bytes of memory that the index takes. */
  get indexBytes(): number {
    return 12 * (this.#index?.starts.length ?? 0);
  }

  /** The description whose function holds a file address. */
  find(address: number): FrameDescription | undefined {
    let at: number | undefined;
    if (this.#search) {
      const found = this.#search.find(address);
      at = found === undefined ? undefined : found - this.#window.address;
    } else {
      this.#index ??= this.#makeIndex();
      const position = lastAtOrBefore(this.#index.starts.length, (i) => this.#index!.starts[i], address);
      at = position < 0 ? undefined : this.#index.offsets[position];
    }
    const description = at === undefined ? undefined : this.#description(at);
    return description && address >= description.start && address < description.end ? description : undefined;
  }

  #makeIndex(): { starts: Float64Array; offsets: Uint32Array } {
    const found: { start: number; at: number }[] = [];
    for (let at = 0; at + 4 <= this.#window.size && found.length < MAX_INDEXED; ) {
      const entry = this.#entry(at);
      if (entry === 'terminator') {
        if (this.#endsWithTerminator) break;
        at += 4;
        continue;
      }
      if (!entry) break;
      if (entry.cieAt !== undefined) {
        const description = this.#description(at);
        if (description) found.push({ start: description.start, at });
      }
      at = entry.next;
    }
    found.sort((a, b) => a.start - b.start || a.at - b.at);
    return { starts: Float64Array.from(found, (f) => f.start), offsets: Uint32Array.from(found, (f) => f.at) };
  }

  /** The entry at an offset in the section, its cursor behind the id; undefined where there can be none. */
  #entry(at: number): Entry | 'terminator' | undefined {
    const window = this.#window;
    if (!(at >= 0 && at + 4 <= window.size)) return undefined;
    const header = this.#cursor(at, Math.min(20, window.size - at));
    let length = header.u32();
    if (length === 0) return 'terminator';
    const is64 = length === 0xffffffff;
    if (is64) length = header.u64();
    const idAt = at + (is64 ? 12 : 4);
    const idSize = is64 && !this.#isEh ? 8 : 4;
    if (!(length >= idSize && length <= MAX_ENTRY_SIZE && idAt + length <= window.size)) return undefined;
    const cursor = this.#cursor(idAt, length);
    const id = idSize === 8 ? cursor.u64() : cursor.u32();
    const isCie = this.#isEh ? id === 0 : id >= (idSize === 8 ? 2 ** 64 - 2048 : 0xffffffff);
    const cieAt = isCie ? undefined : this.#isEh ? idAt - id : id;
    return { cursor, base: window.start, cieAt, next: idAt + length };
  }

  /** A cursor over `length` bytes at an offset in the section; its bytes stay when the window moves. */
  #cursor(at: number, length: number): Cursor {
    const from = this.#window.move(at, length);
    return new Cursor(this.#window.bytes, from, from + length);
  }

  #description(at: number): FrameDescription | undefined {
    const entry = this.#entry(at);
    if (!entry || entry === 'terminator' || entry.cieAt === undefined) return undefined;
    const cie = this.#cie(entry.cieAt);
    if (!cie) return undefined;
    const { cursor } = entry;
    const bases = { ...this.#bases, bytes: this.#window.address + entry.base, function: Number.NaN };
    const start = readPointer(cursor, cie.encoding, bases);
    const end = start + readValue(cursor, cie.encoding);
    if (cie.hasLength) cursor.skip(cursor.uleb());
    if (cursor.overrun || !(start >= 0 && end > start && end <= Number.MAX_SAFE_INTEGER)) return undefined;
    return {
      start,
      end,
      cie,
      instructions: cursor.bytes.subarray(cursor.at, cursor.end),
      bases: { ...bases, bytes: bases.bytes + cursor.at, function: start },
    };
  }

  #cie(at: number): CommonInformation | undefined {
    if (this.#cies.has(at)) return this.#cies.get(at);
    const entry = this.#entry(at);
    const cie =
      entry && entry !== 'terminator' && entry.cieAt === undefined ? parseCie(entry.cursor, this.#bases) : undefined;
    if (this.#cies.size >= MAX_CIES) this.#cies.clear();
    this.#cies.set(at, cie);
    return cie;
  }
}

function parseCie(cursor: Cursor, bases: Pick<PointerBases, 'text' | 'data'>): CommonInformation | undefined {
  const version = cursor.u8();
  if (version !== 1 && version !== 3 && version !== 4) return undefined;
  let augmentation = '';
  for (let c = cursor.u8(); c !== 0; c = cursor.u8()) {
    augmentation += String.fromCharCode(c);
    if (augmentation.length > 16) return undefined;
  }
  // Version 4: address size and segment selector size.
  if (version === 4 && (cursor.u8() !== 8 || cursor.u8() !== 0)) return undefined;
  if (augmentation === 'eh') cursor.skip(8); // GCC 2: a pointer to its exception table
  const codeAlign = cursor.uleb();
  const dataAlign = cursor.sleb();
  const raColumn = version === 1 ? cursor.u8() : cursor.uleb();
  const hasLength = augmentation.startsWith('z');
  let encoding = DW_EH_PE_absptr;
  let isSignal = false;
  if (hasLength) {
    const length = cursor.uleb();
    const end = cursor.at + length;
    for (const c of augmentation.slice(1)) {
      if (c === 'R') encoding = cursor.u8();
      else if (c === 'L') cursor.u8();
      else if (c === 'P') readPointer(cursor, cursor.u8() & 0x7f, { ...bases, bytes: 0, function: Number.NaN });
      else if (c === 'S') isSignal = true;
      else if (c !== 'B') return undefined;
    }
    if (cursor.at > end) return undefined;
    cursor.at = end;
  } else if (augmentation !== '' && augmentation !== 'eh') {
    return undefined;
  }
  if (cursor.overrun) return undefined;
  const instructions = cursor.bytes.slice(cursor.at, cursor.end);
  return { codeAlign, dataAlign, raColumn, encoding, hasLength, isSignal, instructions };
}

/** The binary search table of `.eh_frame_hdr`. */
export class SearchTable {
  readonly #pairs: PagedBytes;
  readonly #address: number;
  readonly #count: number;

  /** `pairs`: of function and description, four bytes each, relative to the header's `address`. */
  constructor(pairs: PagedBytes, address: number, count: number) {
    this.#pairs = pairs;
    this.#address = address;
    this.#count = count;
  }

  /** The file address of the description of the last function that starts at or before a file address. */
  find(address: number): number | undefined {
    const relative = address - this.#address;
    const position = lastAtOrBefore(this.#count, (i) => this.#pairs.u32(8 * i) | 0, relative);
    return position < 0 ? undefined : this.#address + (this.#pairs.u32(8 * position + 4) | 0);
  }
}

/** Index of the last of `count` ascending values that is at or before a value; -1: all lie behind it. */
function lastAtOrBefore(count: number, value: (index: number) => number, limit: number): number {
  let low = 0;
  let high = count;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (value(middle) <= limit) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

interface EhFrameHeader {
  /** File address of `.eh_frame`. */
  readonly ehFrame: number;
  readonly search: SearchTable | undefined;
}

function readEhFrameHeader(file: ElfFile, source: ByteSource): EhFrameHeader | undefined {
  const header = file.programHeaders.find((h) => h.type === PT_GNU_EH_FRAME);
  if (!header || header.fileSize < 8) return undefined;
  const cursor = new Cursor(readAddress(file, source, header.address, Math.min(header.fileSize, 24)));
  if (cursor.u8() !== 1) return undefined;
  const [ehEncoding, countEncoding, tableEncoding] = [cursor.u8(), cursor.u8(), cursor.u8()];
  const bases = { bytes: header.address, text: Number.NaN, data: header.address, function: Number.NaN };
  const ehFrame = readPointer(cursor, ehEncoding, bases);
  const count = readPointer(cursor, countEncoding, bases);
  const offset = addressToOffset(file, header.address + cursor.at);
  const size = header.fileSize - cursor.at;
  const isUsable = tableEncoding === DATAREL_SDATA4 && count > 0 && count <= MAX_INDEXED && 8 * count <= size;
  return {
    ehFrame,
    search:
      isUsable && !cursor.overrun && offset >= 0
        ? new SearchTable(new PagedBytes(source, offset, size), header.address, count)
        : undefined,
  };
}

/** The descriptions of `.eh_frame`; undefined where a file has none. Throws ElfError where what it names does not exist. */
export function openEhFrames(file: ElfFile, source: ByteSource): FrameDescriptions | undefined {
  const header = readEhFrameHeader(file, source);
  const section = findSection(file, '.eh_frame');
  const textBase = findSection(file, '.text')?.address;
  const search = header?.search;
  if (section && section.type !== SHT_NOBITS && section.offset + section.size <= source.size) {
    const window = new SectionWindow(source, section.offset, section.size, section.address);
    // The search table is of this section only if the header says so.
    return new FrameDescriptions(window, {
      isEh: true,
      textBase,
      search: header?.ehFrame === section.address ? search : undefined,
    });
  }
  const segment = header && loadSegmentAt(file, header.ehFrame);
  if (!segment) return undefined;
  const offset = addressToOffset(file, header.ehFrame);
  const size = Math.min(segment.address + segment.fileSize - header.ehFrame, source.size - offset);
  const window = new SectionWindow(source, offset, size, header.ehFrame);
  return new FrameDescriptions(window, { isEh: true, textBase, search, endsWithTerminator: true });
}

/** The descriptions of `.debug_frame`; undefined where a file has none that can be read. */
export function openDebugFrames(file: ElfFile, source: ByteSource): FrameDescriptions | undefined {
  const section = findSection(file, '.debug_frame') ?? findSection(file, '.zdebug_frame');
  if (!section || section.type === SHT_NOBITS || section.offset + section.size > source.size) return undefined;
  if (!isCompressed(section))
    return new FrameDescriptions(new SectionWindow(source, section.offset, section.size, 0), { isEh: false });
  try {
    const bytes = readSection(source, section, MAX_INFLATED);
    return new FrameDescriptions(new SectionWindow(bytesSource(bytes), 0, bytes.length, 0), { isEh: false });
  } catch (error) {
    if (error instanceof ElfError) return undefined;
    throw error;
  }
}
