// SPDX-License-Identifier: Apache-2.0
/**
 * The little of ELF that the build needs of its own fresh BPF objects: sections and function symbols.
 * For trusted input only; loading is libbpf's business.
 * Source: System V ABI, chapter 4 (Elf64_Ehdr, Elf64_Shdr, Elf64_Sym).
 */

const SHF_EXECINSTR = 4;
const SHT_SYMTAB = 2;
const STT_FUNC = 2;
const INSTRUCTION_SIZE = 8;

export interface BpfElf {
  readonly bytes: Uint8Array;
  /** Section bytes by name. */
  readonly sections: ReadonlyMap<string, Uint8Array>;
  /** In order of their sections; `instructions` counts 8-byte slots (a 64-bit load takes two). */
  readonly functions: readonly { name: string; section: string; instructions: number }[];
}

/** @throws Error if `bytes` are not a little-endian ELF64 object. */
export function readBpfElf(bytes: Uint8Array): BpfElf {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.getUint32(0) !== 0x7f454c46 || bytes[4] !== 2 || bytes[5] !== 1)
    throw new Error('not a little-endian ELF64 file');
  const text = (table: Uint8Array, offset: number) =>
    Buffer.from(table.subarray(offset, table.indexOf(0, offset))).toString('latin1');

  const tableOffset = Number(view.getBigUint64(40, true));
  const headers = Array.from({ length: view.getUint16(60, true) }, (_, index) => {
    const at = tableOffset + index * view.getUint16(58, true);
    const offset = Number(view.getBigUint64(at + 24, true));
    const size = Number(view.getBigUint64(at + 32, true));
    return {
      nameOffset: view.getUint32(at, true),
      type: view.getUint32(at + 4, true),
      flags: Number(view.getBigUint64(at + 8, true)),
      link: view.getUint32(at + 40, true),
      content: bytes.subarray(offset, offset + size),
    };
  });
  const names = headers[view.getUint16(62, true)].content;
  const sections = new Map(headers.map((header) => [text(names, header.nameOffset), header.content]));

  const functions: { name: string; section: string; sectionIndex: number; instructions: number }[] = [];
  const symbols = headers.find((header) => header.type === SHT_SYMTAB);
  for (let at = 0; symbols && at < symbols.content.length; at += 24) {
    const symbol = new DataView(symbols.content.buffer, symbols.content.byteOffset + at, 24);
    const sectionIndex = symbol.getUint16(6, true);
    if ((symbol.getUint8(4) & 15) !== STT_FUNC || !((headers[sectionIndex]?.flags ?? 0) & SHF_EXECINSTR)) continue;
    functions.push({
      name: text(headers[symbols.link].content, symbol.getUint32(0, true)),
      section: text(names, headers[sectionIndex].nameOffset),
      sectionIndex,
      instructions: Number(symbol.getBigUint64(16, true)) / INSTRUCTION_SIZE,
    });
  }
  functions.sort((a, b) => a.sectionIndex - b.sectionIndex);
  return { bytes, sections, functions };
}
