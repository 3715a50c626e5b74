// SPDX-License-Identifier: Apache-2.0
import { ElfError } from './errors.ts';
import { type ElfFile, readSection, type Section, SHT_DYNSYM, SHT_NOBITS, SHT_SYMTAB } from './file.ts';
import { cString, isExact, u16, u32, u64 } from './little-endian.ts';
import { type ByteSource, readBytes } from './source.ts';

export const STT_NOTYPE = 0;
export const STT_OBJECT = 1;
export const STT_FUNC = 2;
export const STT_GNU_IFUNC = 10;

export const STB_LOCAL = 0;
export const STB_GLOBAL = 1;
export const STB_WEAK = 2;

const SHN_UNDEF = 0;
const SYMBOL_SIZE = 24; // Elf64_Sym
const CHUNK_SYMBOLS = 4096;
/** Symbols above this count are refused; Chromium with debug information has some 1.5 million. */
export const MAX_SYMBOLS = 1 << 24;

/** Symbols in columns, in the order of the file. */
export interface SymbolTable {
  readonly count: number;
  /** File virtual address of each symbol. */
  readonly addresses: Float64Array;
  /** Bytes; 0 if the file does not say (hand-written assembly). */
  readonly sizes: Float64Array;
  /** STT_* in the low four bits, STB_* above. */
  readonly infos: Uint8Array;
  /** Where the name begins in `strings`. */
  readonly nameOffsets: Uint32Array;
  readonly strings: Uint8Array;
}

/** The section with symbols of a kind: `.symtab` (all, if not stripped) or `.dynsym` (what the dynamic linker needs). */
export function findSymbolSection(file: ElfFile, kind: 'symtab' | 'dynsym'): Section | undefined {
  const type = kind === 'symtab' ? SHT_SYMTAB : SHT_DYNSYM;
  return file.sections.find((section) => section.type === type);
}

/** Which of a file's symbols are wanted: type is STT_*, address and size are in bytes. */
export type SymbolFilter = (type: number, address: number, size: number) => boolean;

export const isFunction: SymbolFilter = (type) => type === STT_FUNC || type === STT_GNU_IFUNC;

/**
 * The defined symbols of a symbol section that pass `filter` (default: functions). Addresses of 2^53 or more
 * (absolute symbols) are left out. An empty table if the file has no such section.
 * Throws ElfError on a section that is damaged or holds more than MAX_SYMBOLS.
 */
export function readSymbols(
  file: ElfFile,
  source: ByteSource,
  kind: 'symtab' | 'dynsym',
  filter: SymbolFilter = isFunction,
): SymbolTable {
  let capacity = 1024;
  let count = 0;
  let addresses = new Float64Array(capacity);
  let sizes = new Float64Array(capacity);
  let infos = new Uint8Array(capacity);
  let nameOffsets = new Uint32Array(capacity);
  const section = findSymbolSection(file, kind);
  const strings = section === undefined ? undefined : file.sections[section.link];
  if (section === undefined || section.type === SHT_NOBITS || strings === undefined) {
    return { count, addresses, sizes, infos, nameOffsets, strings: new Uint8Array(0) };
  }
  scanSymbols(source, section, (address, size, info, nameOffset) => {
    if (!filter(info & 15, address, size)) return;
    if (count === capacity) {
      capacity *= 2;
      addresses = grown(addresses, new Float64Array(capacity));
      sizes = grown(sizes, new Float64Array(capacity));
      infos = grown(infos, new Uint8Array(capacity));
      nameOffsets = grown(nameOffsets, new Uint32Array(capacity));
    }
    addresses[count] = address;
    sizes[count] = size;
    infos[count] = info;
    nameOffsets[count] = nameOffset;
    count++;
  });
  return {
    count,
    addresses: addresses.slice(0, count),
    sizes: sizes.slice(0, count),
    infos: infos.slice(0, count),
    nameOffsets: nameOffsets.slice(0, count),
    strings: readSection(source, strings),
  };
}

function grown<T extends Float64Array | Uint8Array | Uint32Array>(from: T, to: T): T {
  to.set(from);
  return to;
}

/**
 * Calls `visit` for each defined symbol of a symbol section, reading it in chunks: constant memory. `info` holds STT_*
 * in the low four bits, STB_* above; `nameOffset` points into the section `file.sections[section.link]`.
 */
export function scanSymbols(
  source: ByteSource,
  section: Section,
  visit: (address: number, size: number, info: number, nameOffset: number) => void,
): void {
  if (section.entrySize !== SYMBOL_SIZE) {
    throw new ElfError('malformed', `symbols of ${section.entrySize} bytes in ${section.name}`);
  }
  const total = Math.floor(section.size / SYMBOL_SIZE);
  if (total > MAX_SYMBOLS) throw new ElfError('tooLarge', `${total} symbols in ${section.name}`);
  for (let first = 1; first < total; first += CHUNK_SYMBOLS) {
    const count = Math.min(CHUNK_SYMBOLS, total - first);
    const bytes = readBytes(source, section.offset + first * SYMBOL_SIZE, count * SYMBOL_SIZE, section.name);
    for (let at = 0; at < bytes.length; at += SYMBOL_SIZE) {
      if (u16(bytes, at + 6) === SHN_UNDEF) continue;
      const address = u64(bytes, at + 8);
      const size = u64(bytes, at + 16);
      if (!isExact(address + size)) continue;
      visit(address, size, bytes[at + 4], u32(bytes, at));
    }
  }
}

/** Name of the symbol at an index of the table. */
export function symbolName(table: SymbolTable, index: number): string {
  return cString(table.strings, table.nameOffsets[index]);
}

/** Indexes of the table's symbols sorted by address; of equal addresses the one first in the file first. */
export function symbolOrder(table: SymbolTable): Uint32Array {
  const order = new Uint32Array(table.count);
  for (let i = 0; i < order.length; i++) order[i] = i;
  return order.sort((a, b) => table.addresses[a] - table.addresses[b] || a - b);
}
