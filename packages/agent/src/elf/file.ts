// SPDX-License-Identifier: Apache-2.0

/**
 * ELF files of x86-64: header, program headers, section headers, and the bytes behind them.
 *
 *   const file = parseElf(source);                       // reads the headers only
 *   const text = findSection(file, '.text');
 *   const bytes = readSection(source, text!);             // inflated if it is compressed
 *   const start = readAddress(file, source, 0x1040, 16);  // by virtual address, through the program headers
 *
 * Beside it: symbols.ts (symbol tables), notes.ts (build ids), debug-link.ts (where debug information is),
 * go-pclntab.ts (functions of Go programs).
 *
 * All addresses here are the file's own virtual addresses, as numbers below 2^53 ("file virtual address").
 * Everything throws ElfError, and nothing else, on bad input. Source: System V gABI, chapters 4 and 5.
 */
import { inflateSection, isCompressed } from './compression.ts';
import { ElfError } from './errors.ts';
import { cString, isExact, u16, u32, u64 } from './little-endian.ts';
import { type ByteSource, readBytes } from './source.ts';

export const ET_EXEC = 2;
export const ET_DYN = 3;

export const PT_LOAD = 1;
export const PT_NOTE = 4;
export const PT_GNU_EH_FRAME = 0x6474e550;

export const PF_X = 1;

export const SHT_PROGBITS = 1;
export const SHT_SYMTAB = 2;
export const SHT_STRTAB = 3;
export const SHT_NOTE = 7;
export const SHT_NOBITS = 8;
export const SHT_DYNSYM = 11;

export const SHF_ALLOC = 2;
export const SHF_EXECINSTR = 4;
export const SHF_COMPRESSED = 0x800;

const EM_X86_64 = 62;
const HEADER_SIZE = 64;
const PROGRAM_HEADER_SIZE = 56;
const SECTION_HEADER_SIZE = 64;
const PN_XNUM = 0xffff;
const SHN_XINDEX = 0xffff;

/** Headers above these counts are refused; the largest real files (one section per function) have some 100,000. */
export const MAX_PROGRAM_HEADERS = 1024;
export const MAX_SECTIONS = 1 << 18;
/** No section is read or inflated above this size. */
export const MAX_SECTION_SIZE = 1 << 30;

export interface ProgramHeader {
  readonly type: number;
  readonly flags: number;
  /** File offset and bytes in the file. */
  readonly offset: number;
  readonly fileSize: number;
  /** Virtual address and bytes in memory. */
  readonly address: number;
  readonly memorySize: number;
  readonly align: number;
}

export interface Section {
  readonly index: number;
  readonly name: string;
  readonly type: number;
  readonly flags: number;
  readonly address: number;
  readonly offset: number;
  readonly size: number;
  /** Index of another section; what it means depends on the type (symbol table: its strings). */
  readonly link: number;
  readonly entrySize: number;
}

export interface ElfFile {
  /** ET_EXEC, ET_DYN, ... */
  readonly type: number;
  /** Virtual address of the entry point; 0: none. */
  readonly entry: number;
  readonly programHeaders: readonly ProgramHeader[];
  /** By index, the null section first; empty when the file has no (usable) section headers. */
  readonly sections: readonly Section[];
  /** Why section headers that the file announces are not there (stripped tails, images of memory); '' if all is well. */
  readonly sectionsProblem: string;
}

/** Whether bytes begin like any ELF file. */
export function hasElfMagic(bytes: Uint8Array): boolean {
  return bytes.length >= 4 && bytes[0] === 0x7f && bytes[1] === 0x45 && bytes[2] === 0x4c && bytes[3] === 0x46;
}

/**
 * Reads header, program headers and section headers. Section headers that lie outside of the file do not fail it:
 * `sections` is empty then (program headers are what the kernel maps by).
 */
export function parseElf(source: ByteSource): ElfFile {
  if (source.size < HEADER_SIZE) {
    if (source.size >= 4 && hasElfMagic(readBytes(source, 0, 4, 'ELF magic'))) {
      throw new ElfError('truncated', `ELF header: the file has ${source.size} bytes`);
    }
    throw new ElfError('notElf', 'no ELF magic');
  }
  const header = readBytes(source, 0, HEADER_SIZE, 'ELF header');
  if (!hasElfMagic(header)) throw new ElfError('notElf', 'no ELF magic');
  if (header[4] !== 2) throw new ElfError('unsupported', `ELF class ${header[4]}: only 64-bit files are read`);
  if (header[5] !== 1) throw new ElfError('unsupported', `ELF byte order ${header[5]}: only little endian is read`);
  const machine = u16(header, 18);
  if (machine !== EM_X86_64) throw new ElfError('unsupported', `ELF machine ${machine}: only x86-64 (62) is read`);

  let sections: Section[] = [];
  let sectionsProblem = '';
  try {
    sections = parseSections(source, header);
  } catch (error) {
    if (!(error instanceof ElfError)) throw error;
    sectionsProblem = error.message;
  }
  return {
    type: u16(header, 16),
    entry: exact(u64(header, 24), 'entry point'),
    programHeaders: parseProgramHeaders(source, header),
    sections,
    sectionsProblem,
  };
}

function parseProgramHeaders(source: ByteSource, header: Uint8Array): ProgramHeader[] {
  const offset = u64(header, 32);
  const entrySize = u16(header, 54);
  const count = u16(header, 56);
  if (count === 0) return [];
  if (entrySize !== PROGRAM_HEADER_SIZE)
    throw new ElfError('malformed', `program header entries of ${entrySize} bytes`);
  if (count === PN_XNUM || count > MAX_PROGRAM_HEADERS) throw new ElfError('tooLarge', `${count} program headers`);
  const bytes = readBytes(source, offset, count * entrySize, 'program headers');
  const result: ProgramHeader[] = [];
  for (let at = 0; at < bytes.length; at += entrySize) {
    const programHeader = {
      type: u32(bytes, at),
      flags: u32(bytes, at + 4),
      offset: u64(bytes, at + 8),
      address: u64(bytes, at + 16),
      fileSize: u64(bytes, at + 32),
      memorySize: u64(bytes, at + 40),
      align: u64(bytes, at + 48),
    };
    exact(programHeader.address + programHeader.memorySize, 'segment');
    exact(programHeader.offset + programHeader.fileSize, 'segment');
    result.push(programHeader);
  }
  return result;
}

function parseSections(source: ByteSource, header: Uint8Array): Section[] {
  const offset = u64(header, 40);
  const entrySize = u16(header, 58);
  let count = u16(header, 60);
  let nameIndex = u16(header, 62);
  if (offset === 0) return [];
  if (entrySize !== SECTION_HEADER_SIZE)
    throw new ElfError('malformed', `section header entries of ${entrySize} bytes`);
  // Counts that do not fit the header are in the null section.
  const first = readBytes(source, offset, entrySize, 'section headers');
  if (count === 0) count = u64(first, 32);
  if (nameIndex === SHN_XINDEX) nameIndex = u32(first, 40);
  if (count > MAX_SECTIONS) throw new ElfError('tooLarge', `${count} sections`);
  const bytes = readBytes(source, offset, count * entrySize, 'section headers');

  let names: Uint8Array = new Uint8Array(0);
  if (nameIndex > 0 && nameIndex < count) {
    const at = nameIndex * entrySize;
    const size = u64(bytes, at + 32);
    if (size > MAX_SECTION_SIZE) throw new ElfError('tooLarge', `section names of ${size} bytes`);
    names = readBytes(source, u64(bytes, at + 24), size, 'section names');
  }
  const result: Section[] = [];
  for (let index = 0; index < count; index++) {
    const at = index * entrySize;
    const nameAt = u32(bytes, at);
    const section = {
      index,
      name: nameAt < names.length ? cString(names, nameAt, 1024) : '',
      type: u32(bytes, at + 4),
      flags: u32(bytes, at + 8),
      address: u64(bytes, at + 16),
      offset: u64(bytes, at + 24),
      size: u64(bytes, at + 32),
      link: u32(bytes, at + 40),
      entrySize: u64(bytes, at + 56),
    };
    exact(section.address + section.size, `section ${index}`);
    exact(section.offset + section.size, `section ${index}`);
    result.push(section);
  }
  return result;
}

function exact(value: number, what: string): number {
  if (!isExact(value)) throw new ElfError('malformed', `${what}: a value of 2^53 or more`);
  return value;
}

/** The first section of a name, or undefined. */
export function findSection(file: ElfFile, name: string): Section | undefined {
  return file.sections.find((section) => section.name === name);
}

/**
 * The contents of a section: inflated if it is compressed (SHF_COMPRESSED, or the older .zdebug_ form).
 * Throws ElfError: `truncated`, `tooLarge` (more than `limit` bytes), `malformed` (no bytes in the file, bad stream).
 */
export function readSection(source: ByteSource, section: Section, limit = MAX_SECTION_SIZE): Uint8Array {
  if (section.type === SHT_NOBITS) throw new ElfError('malformed', `section ${section.name} has no bytes in the file`);
  if (section.size > limit) throw new ElfError('tooLarge', `section ${section.name} has ${section.size} bytes`);
  const bytes = readBytes(source, section.offset, section.size, `section ${section.name}`);
  return isCompressed(section) ? inflateSection(section, bytes, limit) : bytes;
}

/** The loadable segment whose file bytes hold `address`, or undefined. */
export function loadSegmentAt(file: ElfFile, address: number): ProgramHeader | undefined {
  return file.programHeaders.find(
    (header) => header.type === PT_LOAD && address >= header.address && address < header.address + header.fileSize,
  );
}

/** File offset of a virtual address, or -1 if no loadable segment has file bytes there. */
export function addressToOffset(file: ElfFile, address: number): number {
  const segment = loadSegmentAt(file, address);
  return segment === undefined ? -1 : segment.offset + (address - segment.address);
}

/** `length` bytes at a virtual address. Throws ElfError `malformed` if one loadable segment does not hold them all. */
export function readAddress(file: ElfFile, source: ByteSource, address: number, length: number): Uint8Array {
  const segment = loadSegmentAt(file, address);
  if (segment === undefined || address + length > segment.address + segment.fileSize) {
    throw new ElfError('malformed', `no segment holds ${length} bytes at 0x${address.toString(16)}`);
  }
  return readBytes(source, segment.offset + (address - segment.address), length, `0x${address.toString(16)}`);
}
