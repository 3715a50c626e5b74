// SPDX-License-Identifier: Apache-2.0
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
import { type ByteSource, bytesSource } from '../elf/source.ts';
import { type AddressRange, FrameSection } from './cfi.ts';
import { Cursor } from './cursor.ts';
import { readPointer } from './pointer-encoding.ts';
import { SectionWindow } from './section-window.ts';

/** A compressed `.debug_frame` has to be inflated as a whole; above this size it is left out. */
const MAX_INFLATED = 1 << 26;

/** `.eh_frame`: by section, else through PT_GNU_EH_FRAME, which says where it begins but not how long it is. */
export function openEhFrame(file: ElfFile, source: ByteSource, text: AddressRange): FrameSection | undefined {
  const section = findSection(file, '.eh_frame');
  const bases = { text: findSection(file, '.text')?.address ?? Number.NaN, data: Number.NaN };
  if (section !== undefined && section.type !== SHT_NOBITS && section.offset + section.size <= source.size) {
    return new FrameSection(
      new SectionWindow(source, section.offset, section.size, section.address),
      true,
      bases,
      text,
    );
  }
  const address = ehFrameAddress(file, source);
  const segment = loadSegmentAt(file, address);
  if (segment === undefined) return undefined;
  const offset = addressToOffset(file, address);
  const size = Math.min(segment.address + segment.fileSize - address, source.size - offset);
  return new FrameSection(new SectionWindow(source, offset, size, address), true, bases, text, true);
}

/** The address that `.eh_frame_hdr` gives; NaN if there is none. */
function ehFrameAddress(file: ElfFile, source: ByteSource): number {
  const header = file.programHeaders.find((h) => h.type === PT_GNU_EH_FRAME);
  if (header === undefined || header.fileSize < 8) return Number.NaN;
  const cursor = new Cursor(readAddress(file, source, header.address, Math.min(header.fileSize, 16)));
  if (cursor.u8() !== 1) return Number.NaN;
  const encoding = cursor.u8();
  cursor.skip(2);
  const bases = { bytes: header.address, text: Number.NaN, data: header.address, function: Number.NaN };
  return readPointer(cursor, encoding, bases);
}

export function openDebugFrame(file: ElfFile, source: ByteSource, text: AddressRange): FrameSection | undefined {
  const section = findSection(file, '.debug_frame') ?? findSection(file, '.zdebug_frame');
  if (section === undefined || section.type === SHT_NOBITS || section.offset + section.size > source.size)
    return undefined;
  const bases = { text: Number.NaN, data: Number.NaN };
  if (!isCompressed(section)) {
    return new FrameSection(new SectionWindow(source, section.offset, section.size, 0), false, bases, text);
  }
  try {
    const bytes = readSection(source, section, MAX_INFLATED);
    return new FrameSection(new SectionWindow(bytesSource(bytes), 0, bytes.length, 0), false, bases, text);
  } catch (error) {
    if (error instanceof ElfError) return undefined;
    throw error;
  }
}
