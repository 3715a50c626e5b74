// SPDX-License-Identifier: Apache-2.0

/**
 * The functions of an ELF file by address, from `.symtab`; in a stripped file from its separate debug file; otherwise
 * from `.gnu_debugdata` together with `.dynsym`. Names are not held in memory: they are read from the file when asked for.
 */
import { findMiniDebugInfo } from '../elf/debug-link.ts';
import { ElfError } from '../elf/errors.ts';
import {
  type ElfFile,
  PF_X,
  PT_LOAD,
  parseElf,
  readSection,
  type Section,
  SHF_EXECINSTR,
  SHT_NOBITS,
} from '../elf/file.ts';
import { PagedBytes } from '../elf/paged-bytes.ts';
import { type ByteSource, bytesSource, readBytes } from '../elf/source.ts';
import {
  findSymbolSection,
  STB_GLOBAL,
  STB_LOCAL,
  STB_WEAK,
  STT_FUNC,
  STT_GNU_IFUNC,
  STT_NOTYPE,
  scanSymbols,
} from '../elf/symbols.ts';
import { hasEntryCode } from '../unwind-table/functions.ts';
import { findPltEntries, type PltEntry } from './plt.ts';
import { findSymbol, indexBytes, NO_SYMBOL, type SymbolIndex, SymbolIndexBuilder } from './symbol-index.ts';

/** Decompresses an xz stream, at most `limit` bytes of it. */
export type Unxz = (stream: Uint8Array, limit: number) => Promise<Uint8Array>;

/** Where the names of a symbol table are: in the file itself, in its debug file, or in memory. */
export interface NameTable {
  readonly in: 'file' | 'debugFile' | 'memory';
  readonly offset: number;
  readonly size: number;
  /** Of names in memory. */
  readonly bytes?: Uint8Array;
  /** What is written behind a name of this table: `@plt`. */
  readonly suffix: string;
}

/** An index over some string tables: the high bits of a reference say which. Plain data. */
export interface ElfSymbols {
  readonly index: SymbolIndex;
  readonly tables: readonly NameTable[];
}

/** References: number of the table, then 30 bits of offset in it. */
const TABLE_SHIFT = 30;
const MAX_OFFSET = 2 ** TABLE_SHIFT;
const MAX_MINI_DEBUG_SIZE = 64 << 20;
const MAX_NAME = 16 << 10;
const ENTRY_NAME = '_start';
/** Bytes; glibc's and musl's entry codes have 22 to 47. */
const ENTRY_SIZE = 48;

export interface ElfSymbolSources {
  readonly file: ByteSource;
  /** The separate debug file of the same build, where one was found. */
  readonly debugFile?: ByteSource;
  readonly unxz?: Unxz;
}

/** Whether the file has no symbol table of its own, so that a debug file is worth looking for. */
export function lacksSymbols(file: ElfFile): boolean {
  const section = findSymbolSection(file, 'symtab');
  return section === undefined || section.type === SHT_NOBITS;
}

/** Reads the symbols of a file. Throws ElfError when the file is no ELF file or its symbols are damaged. */
export async function readElfSymbols({ file: source, debugFile, unxz }: ElfSymbolSources): Promise<ElfSymbols> {
  const file = parseElf(source);
  const builder = new SymbolTablesBuilder(file);
  if (!lacksSymbols(file)) {
    builder.addSymbols(file, source, 'symtab', 'file');
  } else if (debugFile !== undefined) {
    const debug = parseElf(debugFile);
    builder.addSymbols(debug, debugFile, lacksSymbols(debug) ? 'dynsym' : 'symtab', 'debugFile');
  } else {
    const mini = findMiniDebugInfo(file);
    // Exported functions alone: what has no size would seem to reach over all the functions behind it.
    builder.addSymbols(file, source, 'dynsym', 'file', mini === undefined);
    if (mini !== undefined && unxz !== undefined) {
      const bytes = await unxz(readSection(source, mini, MAX_MINI_DEBUG_SIZE), MAX_MINI_DEBUG_SIZE);
      const miniSource = bytesSource(bytes);
      builder.addSymbols(parseElf(miniSource), miniSource, 'symtab', 'memory');
    }
    builder.addEntry(file, source);
  }
  builder.addPlt(file, source);
  return builder.build();
}

class SymbolTablesBuilder {
  readonly #executable: { start: number; end: number }[];
  readonly #builder: SymbolIndexBuilder;
  readonly #tables: NameTable[] = [];
  readonly #names: PagedBytes[] = [];

  constructor(file: ElfFile) {
    this.#executable = executableRanges(file);
    this.#builder = new SymbolIndexBuilder(this.#executable[0]?.start ?? 0);
  }

  /** @param needsSize leave out symbols that have none. */
  addSymbols(
    file: ElfFile,
    source: ByteSource,
    kind: 'symtab' | 'dynsym',
    place: NameTable['in'],
    needsSize = false,
  ): void {
    const section = findSymbolSection(file, kind);
    const table = this.#addTable(file, source, section, place, '');
    if (section === undefined || table === undefined) return;
    scanSymbols(source, section, (address, size, info, nameOffset) => {
      const type = info & 15;
      const binding = info >> 4;
      const isLabel = type === STT_NOTYPE;
      if (needsSize && size === 0) return;
      if (type !== STT_FUNC && type !== STT_GNU_IFUNC && !(isLabel && binding !== STB_LOCAL)) return;
      if (nameOffset === 0 || nameOffset >= MAX_OFFSET || this.#endOf(address) === 0) return;
      const rank = binding === STB_GLOBAL ? 3 : binding === STB_WEAK ? 2 : 1;
      this.#builder.add({ address, size, name: reference(table, nameOffset), rank, isLabel });
    });
  }

  /** Stubs that call functions of other libraries: they have no symbols. */
  addPlt(file: ElfFile, source: ByteSource): void {
    let entries: PltEntry[] = [];
    try {
      entries = findPltEntries(file, source);
    } catch (error) {
      if (!(error instanceof ElfError)) throw error; // damaged relocations: the stubs stay without names
    }
    if (entries.length === 0) return;
    const table = this.#addTable(file, source, findSymbolSection(file, 'dynsym'), 'file', '@plt');
    if (table === undefined) return;
    for (const { address, size, nameOffset } of entries) {
      if (nameOffset === 0 || nameOffset >= MAX_OFFSET) continue;
      this.#builder.add({ address, size, name: reference(table, nameOffset), rank: 0, isLabel: false });
    }
  }

  /** The entry code of a stripped program, under the name that linkers give it. */
  addEntry(file: ElfFile, source: ByteSource): void {
    if (!hasEntryCode(file, source)) return;
    const bytes = Buffer.from(`\0${ENTRY_NAME}\0`);
    this.#names.push(new PagedBytes(bytesSource(bytes), 0, bytes.length));
    const table = this.#tables.push({ in: 'memory', offset: 0, size: bytes.length, bytes, suffix: '' }) - 1;
    this.#builder.add({ address: file.entry, size: ENTRY_SIZE, name: reference(table, 1), rank: 0, isLabel: false });
  }

  /** The names of a symbol section; returns the number of the table. */
  #addTable(
    file: ElfFile,
    source: ByteSource,
    section: Section | undefined,
    place: NameTable['in'],
    suffix: string,
  ): number | undefined {
    const strings = section && file.sections[section.link];
    if (!section || !strings || section.type === SHT_NOBITS || strings.type === SHT_NOBITS) return undefined;
    this.#names.push(new PagedBytes(source, strings.offset, strings.size));
    const { offset, size } = strings;
    if (place !== 'memory') return this.#tables.push({ in: place, offset, size, suffix }) - 1;
    const bytes = readSection(source, strings).slice();
    return this.#tables.push({ in: place, offset: 0, size, bytes, suffix }) - 1;
  }

  build(): ElfSymbols {
    const index = this.#builder.build(
      (address) => this.#endOf(address),
      (a, b) => isBetterName(this.#name(a), this.#name(b)),
    );
    return { index, tables: this.#tables };
  }

  /** End of the executable part that holds an address; 0 when none does. */
  #endOf(address: number): number {
    let low = 0;
    let high = this.#executable.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#executable[middle].start <= address) low = middle + 1;
      else high = middle;
    }
    const range = this.#executable[low - 1];
    return range !== undefined && address < range.end ? range.end : 0;
  }

  #name(reference: number): string {
    return this.#names[reference >>> TABLE_SHIFT].cString(reference & (MAX_OFFSET - 1), 256);
  }
}

function reference(table: number, offset: number): number {
  return table * MAX_OFFSET + offset;
}

/** Executable sections, or, in a file without sections, segments, by address. */
function executableRanges(file: ElfFile): { start: number; end: number }[] {
  const sections = file.sections.filter(({ flags, size }) => (flags & SHF_EXECINSTR) !== 0 && size > 0);
  const ranges =
    sections.length > 0
      ? sections.map(({ address, size }) => ({ start: address, end: address + size }))
      : file.programHeaders
          .filter(({ type, flags }) => type === PT_LOAD && (flags & PF_X) !== 0)
          .map(({ address, memorySize }) => ({ start: address, end: address + memorySize }));
  return ranges.sort((a, b) => a.start - b.start);
}

/** Of two names for one function, which one people know it by: fewer underscores at its start, then the longer. */
function isBetterName(a: string, b: string): boolean {
  const underscores = (name: string) => /^_*/.exec(name)![0].length;
  return underscores(a) - underscores(b) < 0 || (underscores(a) === underscores(b) && a.length > b.length);
}

/** The symbols of a file together with the bytes that their names are in. */
export class ElfSymbolTable {
  readonly #symbols: ElfSymbols;
  readonly #sources: { file: ByteSource; debugFile?: ByteSource };

  constructor(symbols: ElfSymbols, sources: { file: ByteSource; debugFile?: ByteSource }) {
    this.#symbols = symbols;
    this.#sources = sources;
  }

  /** Memory that it takes. */
  get bytes(): number {
    return this.#symbols.tables.reduce((sum, { bytes }) => sum + (bytes?.length ?? 0), indexBytes(this.#symbols.index));
  }

  /** Name of the function at a file virtual address, as in the symbol table without its version; undefined if none. */
  nameAt(address: number): string | undefined {
    const reference = findSymbol(this.#symbols.index, address);
    if (reference === NO_SYMBOL) return undefined;
    const table = this.#symbols.tables[reference >>> TABLE_SHIFT];
    const name = readName(this.#sourceOf(table), table, reference & (MAX_OFFSET - 1));
    return name === '' ? undefined : name.replace(/@@?[A-Za-z_][\w.]*$/, '') + table.suffix;
  }

  #sourceOf({ in: place, bytes }: NameTable): ByteSource {
    if (place === 'memory') return bytesSource(bytes!);
    return place === 'file' ? this.#sources.file : this.#sources.debugFile!;
  }
}

function readName(source: ByteSource, table: NameTable, at: number): string {
  let name = Buffer.alloc(0);
  for (let size = 128; name.length < MAX_NAME; size *= 2) {
    const length = Math.min(size, table.size - at - name.length);
    if (length <= 0) break;
    const chunk = Buffer.from(readBytes(source, table.offset + at + name.length, length, 'symbol name'));
    const end = chunk.indexOf(0);
    name = Buffer.concat([name, end < 0 ? chunk : chunk.subarray(0, end)]);
    if (end >= 0) break;
  }
  return name.toString('utf8');
}

/** Errors of reading a file as opposed to defects of this program. */
export function isUnreadable(error: unknown): boolean {
  return error instanceof ElfError || (error instanceof Error && 'code' in error);
}
