// SPDX-License-Identifier: Apache-2.0
import { ElfError } from './errors.ts';
import { type ElfFile, PT_NOTE, SHT_NOTE } from './file.ts';
import { cString, u32 } from './little-endian.ts';
import { type ByteSource, readBytes } from './source.ts';

const NT_GNU_BUILD_ID = 3;
const NT_GO_BUILD_ID = 4;
const MAX_NOTES_SIZE = 1 << 20;
const MAX_BUILD_ID_SIZE = 256;

export interface BuildIds {
  /** Lower-case hex of NT_GNU_BUILD_ID; '' if there is none. */
  readonly gnu: string;
  /** Go's own build id (a string of four parts joined by slashes); '' if there is none. */
  readonly go: string;
}

/**
 * The build ids among the notes of a file: from PT_NOTE segments, else from note sections (relocatable and debug
 * files). Damaged notes end the search without an error; I/O errors pass through.
 */
export function readBuildIds(file: ElfFile, source: ByteSource): BuildIds {
  let gnu = '';
  let go = '';
  const visit = (name: string, type: number, description: Uint8Array) => {
    if (name === 'GNU' && type === NT_GNU_BUILD_ID && gnu === '' && description.length <= MAX_BUILD_ID_SIZE) {
      gnu = Buffer.from(description.buffer, description.byteOffset, description.length).toString('hex');
    } else if (name === 'Go' && type === NT_GO_BUILD_ID && go === '' && description.length <= MAX_BUILD_ID_SIZE) {
      go = cString(description, 0);
    }
  };
  const ranges = [
    ...file.programHeaders.filter((h) => h.type === PT_NOTE).map((h) => ({ ...h, size: h.fileSize })),
    ...file.sections.filter((s) => s.type === SHT_NOTE).map((s) => ({ ...s, align: 4 })),
  ];
  for (const range of ranges) {
    if (gnu !== '' && go !== '') break;
    if (range.size > MAX_NOTES_SIZE) continue;
    try {
      visitNotes(readBytes(source, range.offset, range.size, 'notes'), range.align === 8 ? 8 : 4, visit);
    } catch (error) {
      if (!(error instanceof ElfError)) throw error;
    }
  }
  return { gnu, go };
}

/** Calls `visit` for each note in the bytes of a note segment or section; `align` (4 or 8) is that of its header. */
export function visitNotes(
  bytes: Uint8Array,
  align: 4 | 8,
  visit: (name: string, type: number, description: Uint8Array) => void,
): void {
  let at = 0;
  while (at + 12 <= bytes.length) {
    const nameSize = u32(bytes, at);
    const descriptionSize = u32(bytes, at + 4);
    const nameAt = at + 12;
    const descriptionAt = roundUp(nameAt + nameSize, align);
    const end = descriptionAt + descriptionSize;
    if (end > bytes.length) return;
    visit(
      cString(bytes.subarray(nameAt, nameAt + nameSize), 0),
      u32(bytes, at + 8),
      bytes.subarray(descriptionAt, end),
    );
    at = roundUp(end, align);
  }
}

function roundUp(value: number, align: number): number {
  return Math.ceil(value / align) * align;
}
