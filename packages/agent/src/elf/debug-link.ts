// SPDX-License-Identifier: Apache-2.0
import { crc32 } from 'node:zlib';
import { type ElfFile, findSection, readSection, type Section, SHT_NOBITS } from './file.ts';
import { cString, u32 } from './little-endian.ts';
import { type ByteSource, readBytes } from './source.ts';

const MAX_LINK_SIZE = 8192;
const CHUNK = 1 << 20;

export interface DebugLink {
  /** File name without directories. */
  readonly name: string;
  /** CRC-32 (that of zlib) of the whole debug file. */
  readonly crc: number;
}

/** `.gnu_debuglink`: the file that holds the symbols stripped from this one; undefined if there is none. */
export function readDebugLink(file: ElfFile, source: ByteSource): DebugLink | undefined {
  const section = findSection(file, '.gnu_debuglink');
  if (section === undefined || section.type === SHT_NOBITS || section.size > MAX_LINK_SIZE) return undefined;
  const bytes = readSection(source, section);
  const name = cString(bytes, 0);
  const crcAt = (Buffer.byteLength(name) + 4) & ~3; // past the NUL, aligned
  if (name === '' || name.includes('/') || crcAt + 4 > bytes.length) return undefined;
  return { name, crc: u32(bytes, crcAt) };
}

/** The CRC that a `.gnu_debuglink` names, over a whole file, read in chunks. */
export function debugLinkCrc(source: ByteSource): number {
  let crc = 0;
  for (let at = 0; at < source.size; at += CHUNK) {
    crc = crc32(readBytes(source, at, Math.min(CHUNK, source.size - at), 'debug file'), crc);
  }
  return crc;
}

/**
 * `.gnu_debugdata` ("mini debug info"): a section whose bytes (`readSection`) are an xz stream of an ELF file that
 * holds a symbol table. Undefined if there is none.
 */
export function findMiniDebugInfo(file: ElfFile): Section | undefined {
  const section = findSection(file, '.gnu_debugdata');
  return section === undefined || section.type === SHT_NOBITS || section.size === 0 ? undefined : section;
}
