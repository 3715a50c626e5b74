// SPDX-License-Identifier: Apache-2.0
import { ET_DYN, PF_X, PT_LOAD, SHF_ALLOC, SHF_EXECINSTR, SHT_NOBITS, SHT_PROGBITS, SHT_STRTAB } from './file.ts';

/** A section of an image made for a test. */
export interface ImageSection {
  name: string;
  type?: number;
  flags?: number;
  address?: number;
  bytes?: Uint8Array;
  /** Name of the section that `sh_link` names. */
  link?: string;
  entrySize?: number;
}

export interface ImageOptions {
  type?: number;
  entry?: number;
  sections: ImageSection[];
  /** Program headers besides one PT_LOAD for each section in memory. */
  programHeaders?: { type: number; flags?: number; section: string }[];
  /** Leaves the section headers out. */
  stripSections?: boolean;
}

/** Builds a 64-bit x86-64 ELF file. */
export function elfImage(options: ImageOptions): Uint8Array {
  const sections: ImageSection[] = [
    { name: '', type: 0 },
    ...options.sections,
    { name: '.shstrtab', type: SHT_STRTAB },
  ];
  let names = '';
  const nameOffsets = sections.map((section) => {
    const at = names.length;
    names += `${section.name}\0`;
    return at;
  });
  sections[sections.length - 1].bytes = Buffer.from(names, 'latin1');

  const loads = sections.filter((s) => ((s.flags ?? 0) & SHF_ALLOC) !== 0);
  const extra = options.programHeaders ?? [];
  const programHeaderCount = loads.length + extra.length;
  let at = 64 + 56 * programHeaderCount;
  const offsets = sections.map((section) => {
    at = Math.ceil(at / 16) * 16;
    const offset = at;
    if (section.type !== SHT_NOBITS) at += section.bytes?.length ?? 0;
    return offset;
  });
  const sectionHeaders = Math.ceil(at / 16) * 16;
  const image = new Uint8Array(sectionHeaders + (options.stripSections ? 0 : 64 * sections.length));
  const view = new DataView(image.buffer);
  const u64 = (offset: number, value: number) => view.setBigUint64(offset, BigInt(value), true);

  image.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  view.setUint16(16, options.type ?? ET_DYN, true);
  view.setUint16(18, 62, true);
  view.setUint32(20, 1, true);
  u64(24, options.entry ?? 0);
  u64(32, programHeaderCount > 0 ? 64 : 0);
  u64(40, options.stripSections ? 0 : sectionHeaders);
  view.setUint16(52, 64, true);
  view.setUint16(54, 56, true);
  view.setUint16(56, programHeaderCount, true);
  view.setUint16(58, 64, true);
  view.setUint16(60, options.stripSections ? 0 : sections.length, true);
  view.setUint16(62, options.stripSections ? 0 : sections.length - 1, true);

  const headers = [
    ...loads.map((s) => ({ type: PT_LOAD, flags: 4 | ((s.flags ?? 0) & SHF_EXECINSTR ? PF_X : 0), section: s.name })),
    ...extra,
  ];
  for (const [i, header] of headers.entries()) {
    const index = sections.findIndex((s) => s.name === header.section);
    const { address = 0, bytes } = sections[index];
    const p = 64 + 56 * i;
    view.setUint32(p, header.type, true);
    view.setUint32(p + 4, header.flags ?? 4, true);
    u64(p + 8, offsets[index]);
    u64(p + 16, address);
    u64(p + 24, address);
    u64(p + 32, bytes?.length ?? 0);
    u64(p + 40, bytes?.length ?? 0);
    u64(p + 48, 4);
  }
  for (const [i, section] of sections.entries()) {
    if (section.bytes !== undefined) image.set(section.bytes, offsets[i]);
    if (options.stripSections) continue;
    const s = sectionHeaders + 64 * i;
    view.setUint32(s, nameOffsets[i], true);
    view.setUint32(s + 4, section.type ?? SHT_PROGBITS, true);
    u64(s + 8, section.flags ?? 0);
    u64(s + 16, section.address ?? 0);
    u64(s + 24, offsets[i]);
    u64(s + 32, section.bytes?.length ?? 0);
    view.setUint32(
      s + 40,
      Math.max(
        0,
        sections.findIndex((other) => other.name === section.link),
      ),
      true,
    );
    u64(s + 56, section.entrySize ?? 0);
  }
  return image;
}

/** `.symtab` and `.strtab` with the given symbols. */
export function symbolSections(
  symbols: { name: string; address: number; size?: number; info?: number; section?: number }[],
): ImageSection[] {
  let names = '\0';
  const table = new Uint8Array(24 * (symbols.length + 1));
  const view = new DataView(table.buffer);
  for (const [i, symbol] of symbols.entries()) {
    const at = 24 * (i + 1);
    view.setUint32(at, names.length, true);
    names += `${symbol.name}\0`;
    table[at + 4] = symbol.info ?? 0x12; // global function
    view.setUint16(at + 6, symbol.section ?? 1, true);
    view.setBigUint64(at + 8, BigInt(symbol.address), true);
    view.setBigUint64(at + 16, BigInt(symbol.size ?? 0), true);
  }
  return [
    { name: '.symtab', type: 2, bytes: table, link: '.strtab', entrySize: 24 },
    { name: '.strtab', type: SHT_STRTAB, bytes: Buffer.from(names, 'latin1') },
  ];
}
