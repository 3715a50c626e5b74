// SPDX-License-Identifier: Apache-2.0
import { type ElfFile, type Section, SHF_EXECINSTR, SHT_NOBITS } from '../elf/file.ts';
import { u32, u64 } from '../elf/little-endian.ts';
import { type ByteSource, readBytes } from '../elf/source.ts';
import { findSymbolSection } from '../elf/symbols.ts';

const R_X86_64_GLOB_DAT = 6;
const R_X86_64_JUMP_SLOT = 7;
const RELA_SIZE = 24;
const SYMBOL_SIZE = 24;
const MAX_RELOCATIONS = 1 << 20;
const MAX_PLT_SIZE = 4 << 20;
const CHUNK_RELOCATIONS = 4096;

/** A stub that jumps to a function of another library through the global offset table. */
export interface PltEntry {
  readonly address: number;
  readonly size: number;
  /** Of the function's name, in the string table of `.dynsym`. */
  readonly nameOffset: number;
}

/**
 * The stubs of the procedure linkage table (`.plt`, `.plt.sec`, `.plt.got`), which have no symbols: each is told by the
 * slot that its `jmp *slot(%rip)` reads, and the relocation that fills that slot.
 * Source: System V ABI, AMD64 supplement, section 5.2 and appendix on CET.
 */
export function findPltEntries(file: ElfFile, source: ByteSource): PltEntry[] {
  const sections = file.sections.filter(
    ({ name, flags, type, size }) =>
      /^\.plt(\.sec|\.got)?$/.test(name) &&
      (flags & SHF_EXECINSTR) !== 0 &&
      type !== SHT_NOBITS &&
      size <= MAX_PLT_SIZE,
  );
  const dynsym = findSymbolSection(file, 'dynsym');
  if (sections.length === 0 || dynsym === undefined || dynsym.type === SHT_NOBITS) return [];
  const symbolOfSlot = relocatedSlots(file, source);
  const entries: PltEntry[] = [];
  for (const section of sections) {
    const bytes = readBytes(source, section.offset, section.size, section.name);
    const size = section.entrySize === 8 ? 8 : 16;
    for (let at = 0; at + size <= bytes.length; at += size) {
      const symbol = symbolOfSlot.get(slotOf(bytes, at, size, section));
      if (symbol === undefined || (symbol + 1) * SYMBOL_SIZE > dynsym.size) continue;
      const nameOffset = u32(readBytes(source, dynsym.offset + symbol * SYMBOL_SIZE, 4, '.dynsym'), 0);
      entries.push({ address: section.address + at, size, nameOffset });
    }
  }
  return entries;
}

/** Address of the slot that the entry at an offset jumps through; NaN when it does not. */
function slotOf(bytes: Uint8Array, at: number, size: number, section: Section): number {
  for (let i = at; i + 6 <= at + size; i++) {
    if (bytes[i] !== 0xff || bytes[i + 1] !== 0x25) continue; // jmp *disp32(%rip), behind endbr64 or bnd
    return section.address + i + 6 + (u32(bytes, i + 2) | 0);
  }
  return Number.NaN;
}

/** Symbol number by slot address, from the relocations that fill the global offset table. */
function relocatedSlots(file: ElfFile, source: ByteSource): Map<number, number> {
  const slots = new Map<number, number>();
  for (const { name, type, offset, size } of file.sections) {
    if (!/^\.rela\.(plt|dyn)$/.test(name) || type === SHT_NOBITS) continue;
    const count = Math.min(Math.floor(size / RELA_SIZE), MAX_RELOCATIONS);
    for (let first = 0; first < count; first += CHUNK_RELOCATIONS) {
      const length = Math.min(CHUNK_RELOCATIONS, count - first) * RELA_SIZE;
      const bytes = readBytes(source, offset + first * RELA_SIZE, length, name);
      for (let at = 0; at < length; at += RELA_SIZE) {
        const kind = u32(bytes, at + 8);
        const symbol = u32(bytes, at + 12);
        if (symbol !== 0 && (kind === R_X86_64_JUMP_SLOT || kind === R_X86_64_GLOB_DAT))
          slots.set(u64(bytes, at), symbol);
      }
    }
  }
  return slots;
}
