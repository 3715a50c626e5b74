// SPDX-License-Identifier: Apache-2.0

/**
 * Where functions begin in text without unwind information: by symbols, by the structure of PLT sections, and, where
 * there are no symbols, by what calls or points there.
 */
import {
  addressToOffset,
  type ElfFile,
  ET_EXEC,
  findSection,
  PF_X,
  PT_LOAD,
  type Section,
  SHF_EXECINSTR,
  SHT_NOBITS,
} from '../elf/file.ts';
import { u32, u64 } from '../elf/little-endian.ts';
import { PagedBytes } from '../elf/paged-bytes.ts';
import { type ByteSource, readBytes } from '../elf/source.ts';
import { findSymbolSection, isFunction, STB_GLOBAL, STT_NOTYPE, scanSymbols } from '../elf/symbols.ts';
import type { AddressRange } from './cfi.ts';

/** How the code of a function is to be treated. */
export const FUNCTION_PLAIN = 0;
export const FUNCTION_V8_BUILTIN = 1;
/** A part of a function that the compiler has put elsewhere: it is entered in the middle of a frame. */
export const FUNCTION_PART = 2;
export const FUNCTION_ENTRY_CODE = 3;
/** Found by a call or a pointer: there may be no function after all. */
export const FUNCTION_GUESSED = 4;
/** The first entry of a PLT, which the others jump to with a word pushed. */
export const FUNCTION_PLT_HEADER = 5;
/** V8's builtins without symbols: all of them together. */
export const FUNCTION_V8_BUILTINS = 6;

const MAX_FUNCTIONS = 1 << 18;
/**
 * Stripped files are searched for calls into text without unwind information if there is more of it than this (start
 * files of C programs have some 300 bytes), in so many bytes of code and data.
 */
const MIN_UNKNOWN_BYTES = 2048;
const MAX_SEARCHED_BYTES = 1 << 28;
/** Code without symbols of at least this size may be V8's builtins. */
const MIN_BUILTINS = 1 << 16;
const CHUNK = 1 << 20;

const SHF_WRITE = 1;
const SHT_RELA = 4;
const RELA_SIZE = 24;
const R_X86_64_RELATIVE = 8;

/** Functions sorted by address; each reaches to the next, or to the end of its gap. */
export class FunctionMap {
  starts = new Float64Array(0);
  kinds = new Uint8Array(0);
  /** There is no symbol table: functions may be missing that only tail calls lead to. */
  isIncomplete = false;
  #list: { start: number; size: number; kind: number }[] = [];

  add(start: number, size: number, kind: number): void {
    if (this.#list.length < MAX_FUNCTIONS) this.#list.push({ start, size, kind });
  }

  /**
   * Sorts what was added. Of several kinds at one address the first added counts; guesses inside of functions whose size
   * is known are dropped.
   */
  sort(): void {
    const order = this.#list.map((f, i) => ({ ...f, i })).sort((a, b) => a.start - b.start || a.i - b.i);
    const kept: typeof order = [];
    let end = 0;
    for (const f of order) {
      if (kept.length > 0 && kept[kept.length - 1].start === f.start) continue;
      if (f.kind === FUNCTION_GUESSED && f.start < end) continue;
      end = Math.max(end, f.start + f.size);
      kept.push(f);
    }
    this.#list = kept;
    this.starts = Float64Array.from(kept, (f) => f.start);
    this.kinds = Uint8Array.from(kept, (f) => f.kind);
  }
}

/** Finds the functions that begin in `gaps` (sorted, apart). */
export function findFunctions(file: ElfFile, source: ByteSource, gaps: readonly AddressRange[]): FunctionMap {
  const functions = new FunctionMap();
  const inGap = gapFinder(gaps);
  if (inGap(file.entry) >= 0 && hasEntryCode(file, source)) functions.add(file.entry, 0, FUNCTION_ENTRY_CODE);
  addSections(file, source, inGap, functions);
  for (const kind of ['symtab', 'dynsym'] as const) addSymbols(file, source, kind, inGap, functions);
  functions.isIncomplete = findSymbolSection(file, 'symtab') === undefined;
  if (functions.isIncomplete) {
    const unknown = gaps.filter((gap) => !addBuiltins(file, source, gap, functions));
    const bytes = unknown.reduce((sum, gap) => sum + gap.end - gap.start, 0);
    if (bytes >= MIN_UNKNOWN_BYTES) addReferenced(file, source, gapFinder(unknown), functions);
    else addStartFiles(file, source, unknown, functions);
  }
  functions.sort();
  return functions;
}

/** If the gap is V8's builtins, adds them and returns true. */
function addBuiltins(file: ElfFile, source: ByteSource, gap: AddressRange, functions: FunctionMap): boolean {
  const size = gap.end - gap.start;
  const offset = addressToOffset(file, gap.start);
  if (size < MIN_BUILTINS || size > 1 << 24 || offset < 0 || offset + size > source.size) return false;
  if (!isBuiltins(readBytes(source, offset, size, 'text'))) return false;
  functions.add(gap.start, size, FUNCTION_V8_BUILTINS);
  return true;
}

/** V8's builtins often end with `push rcx; ret`, for they pop their arguments from below the return address. */
function isBuiltins(bytes: Uint8Array): boolean {
  let count = 0;
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let at = buffer.indexOf('51c3', 0, 'hex'); at >= 0; at = buffer.indexOf('51c3', at + 2, 'hex')) count++;
  return count * 8192 > bytes.length;
}

/** A function that gives the index of the gap that holds an address, or -1. */
export function gapFinder(gaps: readonly AddressRange[]): (address: number) => number {
  const starts = Float64Array.from(gaps, (gap) => gap.start);
  const ends = Float64Array.from(gaps, (gap) => gap.end);
  const first = gaps.length === 0 ? Number.POSITIVE_INFINITY : starts[0];
  const last = gaps.length === 0 ? 0 : ends[ends.length - 1];
  return (address) => {
    if (!(address >= first && address < last)) return -1;
    let low = 0;
    let high = starts.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (starts[middle] <= address) low = middle + 1;
      else high = middle;
    }
    return address < ends[low - 1] ? low - 1 : -1;
  };
}

/** `.init` and `.fini` are functions; PLT sections are rows of short ones. */
function addSections(
  file: ElfFile,
  source: ByteSource,
  inGap: (address: number) => number,
  functions: FunctionMap,
): void {
  for (const section of file.sections) {
    if ((section.flags & SHF_EXECINSTR) === 0 || section.type === SHT_NOBITS || inGap(section.address) < 0) continue;
    if (section.name === '.init' || section.name === '.fini') {
      functions.add(section.address, section.size, FUNCTION_PLAIN);
    }
    if (!/^\.i?plt(\.|$)/.test(section.name) || section.size > 1 << 24) continue;
    const bytes = readBytes(source, section.offset, section.size, section.name);
    const step = section.name === '.plt.got' ? 8 : 16;
    for (let at = 0; at < bytes.length; at += step) {
      const isHeader = at === 0 && bytes[0] === 0xff && bytes[1] === 0x35; // push GOT[1](%rip)
      functions.add(section.address + at, step, isHeader ? FUNCTION_PLT_HEADER : FUNCTION_PLAIN);
      // A lazily bound entry jumps through a slot that first leads to the instruction behind the jump.
      const isLazy = bytes[at] === 0xff && bytes[at + 1] === 0x25 && bytes[at + 6] === 0x68;
      if (isLazy) functions.add(section.address + at + 6, step - 6, FUNCTION_PLAIN);
    }
  }
}

function addSymbols(
  file: ElfFile,
  source: ByteSource,
  kind: 'symtab' | 'dynsym',
  inGap: (address: number) => number,
  functions: FunctionMap,
): void {
  const section = findSymbolSection(file, kind);
  const strings = section === undefined ? undefined : file.sections[section.link];
  if (section === undefined || section.type === SHT_NOBITS || strings === undefined) return;
  const names = new PagedBytes(source, strings.offset, strings.size);
  scanSymbols(source, section, (address, size, info, nameOffset) => {
    const type = info & 15;
    if (!isFunction(type, address, size) && !(type === STT_NOTYPE && info >> 4 === STB_GLOBAL)) return;
    if (inGap(address) < 0) return;
    const name = names.cString(nameOffset, 256);
    if (name.startsWith('Builtins_')) functions.add(address, size, FUNCTION_V8_BUILTIN);
    else if (/\.cold(\.|$)/.test(name)) functions.add(address, size, FUNCTION_PART);
    else functions.add(address, size, FUNCTION_PLAIN);
  });
}

/**
 * The functions of a program's start files (crtstuff.c of GCC: frame_dummy, __do_global_dtors_aux and what they call): the
 * arrays of constructors and destructors point at them. Linkers write the addresses in place, whatever the relocation.
 */
function addStartFiles(file: ElfFile, source: ByteSource, gaps: readonly AddressRange[], functions: FunctionMap): void {
  const inGap = gapFinder(gaps);
  const found = (address: number) => {
    if (inGap(address) >= 0) functions.add(address, 0, FUNCTION_GUESSED);
  };
  for (const name of ['.init_array', '.fini_array']) {
    const section = findSection(file, name);
    if (section && section.type !== SHT_NOBITS && section.size <= CHUNK) searchData(source, section, found);
  }
  for (const { start, end } of gaps) {
    const offset = addressToOffset(file, start);
    if (offset < 0 || offset + end - start > source.size) continue;
    searchCode(readBytes(source, offset, end - start, 'text'), start, end - start, false, found);
  }
}

/** Functions that some instruction calls or takes the address of, or that a word of data points to. */
function addReferenced(
  file: ElfFile,
  source: ByteSource,
  inGap: (address: number) => number,
  functions: FunctionMap,
): void {
  const found = (address: number) => {
    if (inGap(address) >= 0) functions.add(address, 0, FUNCTION_GUESSED);
  };
  let budget = MAX_SEARCHED_BYTES;
  const absolute = file.type === ET_EXEC;
  for (const segment of file.programHeaders) {
    if (segment.type !== PT_LOAD || (segment.flags & PF_X) === 0) continue;
    for (let start = 0; start < segment.fileSize && budget > 0; start += CHUNK, budget -= CHUNK) {
      const length = Math.min(CHUNK + 8, segment.fileSize - start);
      const bytes = readBytes(source, segment.offset + start, length, 'text');
      searchCode(bytes, segment.address + start, Math.min(CHUNK, length), absolute, found);
    }
  }
  // Pointers lie in data; in position-independent files only where a relocation applies.
  const inPlace = absolute || findSection(file, '.relr.dyn') !== undefined;
  for (const section of file.sections) {
    if (section.type === SHT_NOBITS || section.size > budget) continue;
    const isData = (section.flags & SHF_WRITE) !== 0 || (absolute && section.name.startsWith('.rodata'));
    if (section.type === SHT_RELA) searchRelocations(source, section, found);
    else if (isData && inPlace) searchData(source, section, found);
    else continue;
    budget -= section.size;
  }
}

/** Looks for call rel32, lea rel32(%rip) and (position-dependent code) 32-bit immediates. */
function searchCode(
  bytes: Uint8Array,
  address: number,
  end: number,
  absolute: boolean,
  found: (address: number) => void,
): void {
  for (let at = 0; at + 6 <= bytes.length && at < end; at++) {
    const byte = bytes[at];
    if (byte === 0xe8) found(address + at + 5 + (u32(bytes, at + 1) | 0));
    else if (byte === 0x8d && (bytes[at + 1] & 0xc7) === 5) found(address + at + 6 + (u32(bytes, at + 2) | 0));
    else if (absolute && byte >= 0xb8 && byte <= 0xbf) found(u32(bytes, at + 1));
    else if (absolute && byte === 0xc7 && (bytes[at + 1] & 0xf8) === 0xc0) found(u32(bytes, at + 2));
  }
}

/** Looks for words that are addresses. */
function searchData(source: ByteSource, section: Section, found: (address: number) => void): void {
  for (let start = 0; start < section.size; start += CHUNK) {
    const length = Math.min(CHUNK, section.size - start);
    const bytes = readBytes(source, section.offset + start, length, section.name);
    for (let at = (8 - ((section.address + start) % 8)) % 8; at + 8 <= bytes.length; at += 8) found(u64(bytes, at));
  }
}

/** Looks for the addends of relative relocations. */
function searchRelocations(source: ByteSource, section: Section, found: (address: number) => void): void {
  const chunk = RELA_SIZE * 4096;
  for (let start = 0; start < section.size; start += chunk) {
    const bytes = readBytes(source, section.offset + start, Math.min(chunk, section.size - start), section.name);
    for (let at = 0; at + RELA_SIZE <= bytes.length; at += RELA_SIZE) {
      if (u32(bytes, at + 8) === R_X86_64_RELATIVE) found(u64(bytes, at + 16));
    }
  }
}

/**
 * Whether there is entry code at the ELF entry point: in programs always; shared libraries may name any function there,
 * so that the code has to look like the dynamic linker's or a static program's.
 */
export function hasEntryCode(file: ElfFile, source: ByteSource): boolean {
  const offset = addressToOffset(file, file.entry);
  if (file.entry === 0 || offset < 0 || offset + 8 > source.size) return false;
  if (file.type === ET_EXEC || findSection(file, '.interp') !== undefined) return true;
  const code = Buffer.from(readBytes(source, offset, 8, 'entry point'))
    .toString('hex')
    .replace(/^f30f1efa/, ''); // endbr64
  return /^(31ed|4831ed|4889e7)/.test(code); // xor ebp,ebp; xor rbp,rbp; mov rdi,rsp
}
