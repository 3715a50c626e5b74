// SPDX-License-Identifier: Apache-2.0

/**
 * The function table that every Go program carries, stripped or not (`.gopclntab`): entry points, names, and tables from
 * program counters to stack depth, file and line.
 *
 *   const table = openGoPclntab(file, source);
 *   for (let i = 0; i < table.count; i++) table.select(i), table.entry, table.name(), ...
 *
 * Versions by magic: Go 1.16 and 1.17; 1.18 and 1.19; 1.20 and later (1.26 leaves the text start out of the header).
 * Sources: src/runtime/symtab.go, src/runtime/runtime2.go (`_func`), src/debug/gosym/pclntab.go of the Go project.
 */
import { ElfError } from './errors.ts';
import {
  addressToOffset,
  type ElfFile,
  findSection,
  PF_X,
  PT_LOAD,
  type Section,
  SHF_ALLOC,
  SHT_NOBITS,
} from './file.ts';
import { u64 } from './little-endian.ts';
import { PagedBytes } from './paged-bytes.ts';
import { type ByteSource, readBytes } from './source.ts';
import { findSymbolSection, scanSymbols } from './symbols.ts';

const MAGIC_116 = 0xfffffffa;
const MAGIC_118 = 0xfffffff0;
const MAGIC_120 = 0xfffffff1;

/** The largest Go programs known have some 700,000 functions. */
const MAX_FUNCTIONS = 1 << 23;
const CHUNK = 1 << 20;

/** Bits of `flag` (internal/abi.FuncFlag). */
export const FUNC_FLAG_TOP_FRAME = 1;
export const FUNC_FLAG_SP_WRITE = 2;
export const FUNC_FLAG_ASM = 4;

export interface GoPclntabLocation {
  /** File virtual address; file offset; bytes, or an upper bound of them. */
  address: number;
  offset: number;
  size: number;
}

/** Access to one function at a time: `select` reads its record into the fields. */
export class GoPclntab {
  readonly count: number;
  /** Address that function entries are relative to. */
  readonly textStart: number;
  /** Address behind the last function. */
  readonly textEnd: number;
  /** Whether `flag` is known (Go 1.17 and later). */
  readonly hasFlags: boolean;
  readonly bytes: PagedBytes;
  readonly location: GoPclntabLocation;

  /** Of the selected function: addresses [entry, end); positions in `pcTable` of its tables, 0: none. */
  entry = 0;
  end = 0;
  pcsp = 0;
  pcfile = 0;
  pcln = 0;
  npcdata = 0;
  cuOffset = 0;
  /** Line of its declaration; 0 before Go 1.20. */
  startLine = 0;
  funcId = 0;
  flag = 0;
  #nameOffset = 0;
  #record = 0;

  /** Positions in `bytes`. */
  readonly nameTable: number;
  readonly cuTable: number;
  readonly fileTable: number;
  readonly pcTable: number;
  readonly #functions: number;
  readonly #magic: number;
  readonly #is116: boolean;

  constructor(
    location: GoPclntabLocation,
    source: ByteSource,
    findTextStart: (table: GoPclntab, header: number) => number,
  ) {
    const bytes = new PagedBytes(source, location.offset, location.size);
    this.bytes = bytes;
    this.location = location;
    this.#magic = bytes.u32(0);
    this.#is116 = this.#magic === MAGIC_116;
    const known = this.#is116 || this.#magic === MAGIC_118 || this.#magic === MAGIC_120;
    if (!known || bytes.u8(6) !== 1 || bytes.u8(7) !== 8) {
      throw new ElfError('unsupported', `Go function table with magic 0x${this.#magic.toString(16)}`);
    }
    const word = (i: number) => bytes.u64(8 + 8 * i);
    this.count = word(0);
    const at = this.#is116 ? 2 : 3;
    this.nameTable = word(at);
    this.cuTable = word(at + 1);
    this.fileTable = word(at + 2);
    this.pcTable = word(at + 3);
    this.#functions = word(at + 4);
    if (this.count > MAX_FUNCTIONS) throw new ElfError('tooLarge', `Go function table of ${this.count} functions`);
    const end = this.#functions + (this.count * 2 + 1) * this.#fieldSize;
    if (this.count === 0 || end > bytes.size || Math.max(this.nameTable, this.pcTable) > bytes.size) {
      throw new ElfError('malformed', `Go function table of ${this.count} functions in ${bytes.size} bytes`);
    }
    this.hasFlags = !this.#is116;
    this.textStart = this.#is116 ? 0 : findTextStart(this, word(2));
    this.textEnd = this.entryOf(this.count);
  }

  get #fieldSize(): number {
    return this.#is116 ? 8 : 4;
  }

  /** Entry of function `index`; of `count`: the end of the last one. */
  entryOf(index: number): number {
    const at = this.#functions + index * 2 * this.#fieldSize;
    return this.#is116 ? this.bytes.u64(at) : this.textStart + this.bytes.u32(at);
  }

  /** The entry relative to the start of the text, as the table has it. */
  entryOffsetOf(index: number): number {
    return this.bytes.u32(this.#functions + index * 2 * this.#fieldSize);
  }

  /** Index of the function that holds an address, or -1. */
  indexAt(address: number): number {
    if (address < this.entryOf(0) || address >= this.textEnd) return -1;
    let low = 0;
    let high = this.count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.entryOf(middle) <= address) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  /** Reads the record of function `index` (0 ≤ index < count) into the fields. */
  select(index: number): void {
    const { bytes } = this;
    const size = this.#fieldSize;
    this.entry = this.entryOf(index);
    this.end = this.entryOf(index + 1);
    const offset = this.#functions + index * 2 * size + size;
    let at = this.#functions + (this.#is116 ? bytes.u64(offset) : bytes.u32(offset));
    at += size; // the entry once more
    this.#record = at;
    this.#nameOffset = bytes.u32(at);
    this.pcsp = bytes.u32(at + 12);
    this.pcfile = bytes.u32(at + 16);
    this.pcln = bytes.u32(at + 20);
    this.npcdata = bytes.u32(at + 24);
    this.cuOffset = bytes.u32(at + 28);
    const has120 = this.#magic === MAGIC_120;
    this.startLine = has120 ? bytes.u32(at + 32) : 0;
    this.funcId = bytes.u8(at + (has120 ? 36 : 32));
    this.flag = this.hasFlags ? bytes.u8(at + (has120 ? 37 : 33)) : 0;
  }

  /** Of the selected function: the name, as in `runtime.systemstack.abi0`. */
  name(): string {
    return this.bytes.cString(this.nameTable + this.#nameOffset);
  }

  /** Of the selected function: position in `pcTable` of its PCDATA table `index`; 0: none. */
  pcdata(index: number): number {
    const fixed = this.#magic === MAGIC_120 ? 40 : 36;
    return index < this.npcdata ? this.bytes.u32(this.#record + fixed + 4 * index) : 0;
  }

  /** Whether the layout of function data is known (Go 1.20 and later). */
  get hasFuncdata(): boolean {
    return this.#magic === MAGIC_120;
  }

  /** Of the selected function: its function data `index`, as an offset from `go:func.*`; undefined: none. */
  funcdata(index: number): number | undefined {
    if (!this.hasFuncdata || index >= this.bytes.u8(this.#record + 39)) return undefined;
    const offset = this.bytes.u32(this.#record + 40 + 4 * (this.npcdata + index));
    return offset === 0xffffffff ? undefined : offset;
  }

  /**
   * Walks a table of the selected function (`pcsp`, `pcln`, ...): calls `visit` for each stretch [start, end) of
   * addresses with its value, up to the one that holds `last`, the end of the function, or where the table is damaged.
   */
  eachValue(table: number, visit: (start: number, end: number, value: number) => void, last = this.end): void {
    if (table === 0) return;
    const { bytes } = this;
    let at = this.pcTable + table;
    const varint = (): number => {
      let value = 0;
      let shift = 0;
      let byte = bytes.u8(at++);
      for (; byte >= 0x80 && shift < 28; shift += 7, byte = bytes.u8(at++)) value |= (byte & 0x7f) << shift;
      return (value | (byte << shift)) >>> 0;
    };
    let value = -1;
    let pc = this.entry;
    for (let first = true; pc < this.end && pc <= last && at < bytes.size; first = false) {
      const delta = varint();
      if (delta === 0 && !first) return;
      value += (delta >>> 1) ^ -(delta & 1);
      const next = Math.min(pc + varint(), this.end);
      if (next <= pc) return; // every step advances
      visit(pc, next, value);
      pc = next;
    }
  }

  /** The value of a table of the selected function at an address inside it; `missing` if the table does not say. */
  valueAt(table: number, address: number, missing: number): number {
    let result = missing;
    this.eachValue(
      table,
      (start, end, value) => {
        if (address >= start && address < end) result = value;
      },
      address,
    );
    return result;
  }
}

/** The Go function table of a file; undefined if it has none. Throws ElfError if it is damaged or of another version. */
export function openGoPclntab(file: ElfFile, source: ByteSource): GoPclntab | undefined {
  const location = locatePclntab(file, source);
  if (location === undefined) return undefined;
  return new GoPclntab(location, source, (table, header) => findTextStart(file, source, table, header));
}

function locatePclntab(file: ElfFile, source: ByteSource): GoPclntabLocation | undefined {
  const section = findSection(file, '.gopclntab') ?? findSection(file, '.data.rel.ro.gopclntab');
  if (section !== undefined && section.type !== SHT_NOBITS) return section;
  // An external linker may merge it into another section: look for a symbol, then for its header.
  if (!isGo(file)) return undefined;
  const address = findSymbol(file, source, 'runtime.pclntab');
  const candidates = file.sections.filter((s) => isData(s) && s.size > 0);
  for (const { address: start, offset, size } of candidates) {
    if (address >= start && address < start + size) {
      return { address, offset: offset + (address - start), size: size - (address - start) };
    }
  }
  for (const candidate of candidates) {
    const at = scanForHeader(source, candidate);
    if (at >= 0) return { address: candidate.address + at, offset: candidate.offset + at, size: candidate.size - at };
  }
  return undefined;
}

function isGo(file: ElfFile): boolean {
  return findSection(file, '.note.go.buildid') !== undefined || findSection(file, '.go.buildinfo') !== undefined;
}

function isData(section: Section): boolean {
  return (section.flags & SHF_ALLOC) !== 0 && section.type !== SHT_NOBITS && (section.flags & 4) === 0;
}

/** Offset inside the section of something that is a table's header in all fields, or -1. */
function scanForHeader(source: ByteSource, section: Section): number {
  for (const magic of [MAGIC_120, MAGIC_118, MAGIC_116]) {
    const pattern = Uint8Array.of(magic & 0xff, 0xff, 0xff, 0xff, 0, 0, 1, 8);
    for (let start = 0; start < section.size; start += CHUNK) {
      // Chunks overlap by a header, so that none is missed at an edge.
      const length = Math.min(CHUNK + 72, section.size - start);
      const bytes = Buffer.from(readBytes(source, section.offset + start, length, section.name));
      for (let at = bytes.indexOf(pattern); at >= 0 && at < CHUNK; at = bytes.indexOf(pattern, at + 1)) {
        const count = at + 72 <= length ? u64(bytes, at + 8) : 0;
        const nameTable = at + 72 <= length ? u64(bytes, at + (magic === MAGIC_116 ? 24 : 32)) : 0;
        const isHeader = count > 0 && count < MAX_FUNCTIONS && nameTable >= 64 && nameTable <= 128;
        if ((start + at) % 8 === 0 && isHeader) return start + at;
      }
    }
  }
  return -1;
}

/** Address of a symbol by its exact name; NaN if there is none. */
function findSymbol(file: ElfFile, source: ByteSource, name: string): number {
  const section = findSymbolSection(file, 'symtab');
  const strings = section === undefined ? undefined : file.sections[section.link];
  let result = Number.NaN;
  if (section === undefined || section.type === SHT_NOBITS || strings === undefined) return result;
  const names = new PagedBytes(source, strings.offset, strings.size);
  scanSymbols(source, section, (address, _size, _info, nameOffset) => {
    if (names.u8(nameOffset) === 0x72 && names.cString(nameOffset, name.length + 1) === name) result = address;
  });
  return result;
}

/**
 * The address that entries are relative to: `runtime.text` by symbol, by the runtime's module data, or by the header.
 * In a program without C code it is also where `.text` begins.
 */
function findTextStart(file: ElfFile, source: ByteSource, table: GoPclntab, header: number): number {
  const executable = file.programHeaders.filter((h) => h.type === PT_LOAD && (h.flags & PF_X) !== 0);
  const last = table.entryOffsetOf(table.count);
  const fits = (start: number) =>
    start > 0 && executable.some((h) => start >= h.address && start + last <= h.address + h.memorySize);
  for (const find of [
    () => textStartFromModuleData(file, source, table),
    () => header,
    () => findSymbol(file, source, 'runtime.text'),
    () => findSection(file, '.text')?.address ?? 0,
  ]) {
    const start = find();
    if (fits(start)) return start;
  }
  throw new ElfError('malformed', 'Go function table without a text to which it belongs');
}

const MODULE_DATA_MINPC = 20; // words from the start of runtime.moduledata, the same since Go 1.16
const MODULE_DATA_MAXPC = 21;
const MODULE_DATA_TEXT = 22;

/** `text` of runtime.moduledata, which begins with a pointer to the table; NaN if it is not found. */
function textStartFromModuleData(file: ElfFile, source: ByteSource, table: GoPclntab): number {
  const pointer = new Uint8Array(8);
  new DataView(pointer.buffer).setBigUint64(0, BigInt(table.location.address), true);
  const words = (read: (word: number) => number): number => {
    const text = read(MODULE_DATA_TEXT);
    const matches =
      read(MODULE_DATA_MINPC) === text + table.entryOffsetOf(0) &&
      read(MODULE_DATA_MAXPC) === text + table.entryOffsetOf(table.count);
    return matches ? text : Number.NaN;
  };
  const own = findSection(file, '.go.module');
  const sections = own !== undefined ? [own] : file.sections.filter((s) => isData(s) && (s.flags & 1) !== 0);
  for (const section of sections) {
    for (let start = 0; start < section.size; start += CHUNK) {
      const length = Math.min(CHUNK + 256, section.size - start);
      const bytes = Buffer.from(readBytes(source, section.offset + start, length, section.name));
      for (let at = bytes.indexOf(pointer); at >= 0 && at < CHUNK; at = bytes.indexOf(pointer, at + 1)) {
        const text = words((word) => u64(bytes, at + 8 * word));
        if (text > 0) return text;
      }
    }
  }
  return textStartFromRelocations(file, source, table, words);
}

const RELA_SIZE = 24;
const R_X86_64_RELATIVE = 8;

/** In a position-independent program the words of the module data may be addends of relative relocations. */
function textStartFromRelocations(
  file: ElfFile,
  source: ByteSource,
  table: GoPclntab,
  words: (read: (word: number) => number) => number,
): number {
  const section = findSection(file, '.rela.dyn') ?? findSection(file, '.rela');
  if (section === undefined || section.type === SHT_NOBITS || section.size > 1 << 28) return Number.NaN;
  const relocations = new PagedBytes(source, section.offset, section.size);
  const isRelative = (at: number) => relocations.u32(at + 8) === R_X86_64_RELATIVE;
  for (let at = 0; at + RELA_SIZE <= section.size; at += RELA_SIZE) {
    if (!isRelative(at) || relocations.u64(at + 16) !== table.location.address) continue;
    const moduleData = relocations.u64(at);
    if (addressToOffset(file, moduleData) < 0) continue;
    const values = new Map<number, number>();
    for (let r = 0; r + RELA_SIZE <= section.size; r += RELA_SIZE) {
      const word = (relocations.u64(r) - moduleData) / 8;
      if (word >= 0 && word <= MODULE_DATA_TEXT && isRelative(r)) values.set(word, relocations.u64(r + 16));
    }
    const text = words((word) => values.get(word) ?? 0);
    if (text > 0) return text;
  }
  return Number.NaN;
}
