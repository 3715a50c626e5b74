// SPDX-License-Identifier: Apache-2.0
import { inflateSync, zstdDecompressSync } from 'node:zlib';
import { ElfError } from './errors.ts';
import type { Section } from './file.ts';
import { u32, u64 } from './little-endian.ts';

const SHF_COMPRESSED = 0x800;
const ELFCOMPRESS_ZLIB = 1;
const ELFCOMPRESS_ZSTD = 2;
const CHDR_SIZE = 24; // Elf64_Chdr: type, reserved, size, alignment
const ZDEBUG_HEADER_SIZE = 12; // "ZLIB", then the inflated size as a big-endian 64-bit number

/** Whether the bytes of the section in the file are a compressed stream behind a small header. */
export function isCompressed(section: Section): boolean {
  return (section.flags & SHF_COMPRESSED) !== 0 || section.name.startsWith('.zdebug_');
}

/**
 * Inflates the raw bytes of a compressed section. The announced size bounds the output; a stream that is shorter or
 * longer is `malformed`.
 */
export function inflateSection(section: Section, raw: Uint8Array, limit: number): Uint8Array {
  const byHeader = (section.flags & SHF_COMPRESSED) !== 0;
  const headerSize = byHeader ? CHDR_SIZE : ZDEBUG_HEADER_SIZE;
  if (raw.length < headerSize) throw new ElfError('malformed', `compressed section ${section.name} without header`);
  if (!byHeader && u32(raw, 0) !== 0x42494c5a) return raw; // a .zdebug_ section that was left as it is
  const type = byHeader ? u32(raw, 0) : ELFCOMPRESS_ZLIB;
  const size = byHeader ? u64(raw, 8) : Number(new DataView(raw.buffer, raw.byteOffset + 4, 8).getBigUint64(0));
  if (type !== ELFCOMPRESS_ZLIB && type !== ELFCOMPRESS_ZSTD) {
    throw new ElfError('unsupported', `section ${section.name} has compression type ${type}`);
  }
  if (size > limit) throw new ElfError('tooLarge', `section ${section.name} inflates to ${size} bytes`);
  const stream = raw.subarray(headerSize);
  let result: Uint8Array;
  try {
    const options = { maxOutputLength: Math.max(1, size) };
    result = type === ELFCOMPRESS_ZLIB ? inflateSync(stream, options) : zstdDecompressSync(stream, options);
  } catch (cause) {
    throw new ElfError('malformed', `compressed section ${section.name}: ${(cause as Error).message}`, { cause });
  }
  if (result.length !== size) {
    throw new ElfError('malformed', `compressed section ${section.name}: ${result.length} bytes, ${size} announced`);
  }
  return result;
}
