// SPDX-License-Identifier: Apache-2.0

/**
 * Functions, files, lines and inlined calls of Go programs, read from the function table (`.gopclntab`) that the Go
 * runtime itself uses for its stack traces: it is there in stripped programs too.
 * Sources: src/runtime/symtab.go, src/runtime/symtabinl.go, src/cmd/link/internal/ld/pcln.go of the Go project.
 */
import { addressToOffset, type ElfFile, findSection, type Section, SHF_ALLOC, SHT_NOBITS } from '../elf/file.ts';
import type { GoPclntab } from '../elf/go-pclntab.ts';
import { openGoPclntab } from '../elf/go-pclntab.ts';
import { u64 } from '../elf/little-endian.ts';
import { PagedBytes } from '../elf/paged-bytes.ts';
import { type ByteSource, readBytes } from '../elf/source.ts';

/** One line of an address; of several, the innermost inlined function comes first. */
export interface GoLine {
  /** As the runtime prints it: type arguments are `[...]`. */
  name: string;
  /** As in the table. */
  systemName: string;
  file: string;
  line: number;
}

const SHF_WRITE = 1;
const NONE = 0xffff_ffff;
const PCDATA_INLINE_TREE_INDEX = 2;
const FUNCDATA_INLINE_TREE = 3;
const INLINED_CALL_SIZE = 16; // funcID, 3 bytes of padding, nameOff, parentPc, startLine (Go 1.20 and later)
const MAX_INLINE_DEPTH = 100;

export class GoSymbols {
  readonly #table: GoPclntab;
  /** The segment's bytes that inline trees lie in; undefined when they were not found. */
  readonly #inlineTrees: PagedBytes | undefined;

  private constructor(table: GoPclntab, inlineTrees: PagedBytes | undefined) {
    this.#table = table;
    this.#inlineTrees = inlineTrees;
  }

  /** Opens the table of a Go program; undefined for other files. Throws ElfError when it is damaged. */
  static open(file: ElfFile, source: ByteSource): GoSymbols | undefined {
    const table = openGoPclntab(file, source);
    return table && new GoSymbols(table, findInlineTrees(file, source, table));
  }

  /** The lines of a file virtual address; empty when it lies in no Go function. */
  linesAt(address: number): GoLine[] {
    const table = this.#table;
    const index = table.indexAt(address);
    if (index < 0) return [];
    table.select(index);
    const name = table.name();
    if (name === '') return [];
    const lines: GoLine[] = [];
    let at = address;
    for (let depth = 0; depth < MAX_INLINE_DEPTH; depth++) {
      const call = this.#inlinedCallAt(at);
      if (call === undefined) break;
      lines.push({ ...names(call.name), file: this.#fileAt(at), line: Math.max(0, table.valueAt(table.pcln, at, 0)) });
      const parent = table.entry + call.parentPc;
      if (parent < table.entry || parent >= table.end || parent === at) break;
      at = parent;
    }
    lines.push({ ...names(name), file: this.#fileAt(at), line: Math.max(0, table.valueAt(table.pcln, at, 0)) });
    return lines;
  }

  #fileAt(address: number): string {
    const table = this.#table;
    const file = table.valueAt(table.pcfile, address, -1);
    if (file < 0 || table.cuOffset === NONE) return '';
    const offset = table.bytes.u32(table.cuTable + 4 * (table.cuOffset + file));
    return offset === NONE ? '' : table.bytes.cString(table.fileTable + offset);
  }

  /** The call that was inlined at an address of the selected function. */
  #inlinedCallAt(address: number): { name: string; parentPc: number } | undefined {
    const trees = this.#inlineTrees;
    const table = this.#table;
    const tree = trees && table.funcdata(FUNCDATA_INLINE_TREE);
    if (trees === undefined || tree === undefined) return undefined;
    const index = table.valueAt(table.pcdata(PCDATA_INLINE_TREE_INDEX), address, -1);
    if (index < 0) return undefined;
    const at = tree + index * INLINED_CALL_SIZE;
    const name = table.bytes.cString(table.nameTable + trees.u32(at + 4));
    return name === '' || at + INLINED_CALL_SIZE > trees.size ? undefined : { name, parentPc: trees.u32(at + 8) };
  }
}

function names(systemName: string): { name: string; systemName: string } {
  const open = systemName.indexOf('[');
  const close = systemName.lastIndexOf(']');
  const name =
    open < 0 || close < open ? systemName : `${systemName.slice(0, open)}[...]${systemName.slice(close + 1)}`;
  return { name, systemName };
}

// Words of runtime.moduledata, the same from Go 1.20 on.
const MODULE_DATA_MINPC = 20;
const MODULE_DATA_MAXPC = 21;
const MODULE_DATA_TEXT = 22;
const MODULE_DATA_GOFUNC = 40;
const CHUNK = 1 << 20;

/** The bytes that offsets of function data are relative to, `go:func.*`: its address is in runtime.moduledata. */
function findInlineTrees(file: ElfFile, source: ByteSource, table: GoPclntab): PagedBytes | undefined {
  if (!table.hasFuncdata) return undefined;
  const pointer = Buffer.alloc(8); // the first word of moduledata points to the table
  pointer.writeBigUInt64LE(BigInt(table.location.address));
  const own = findSection(file, '.go.module');
  for (const section of own ? [own] : file.sections.filter(isWritableData)) {
    for (let start = 0; start < section.size; start += CHUNK) {
      const length = Math.min(CHUNK + 512, section.size - start); // chunks overlap by a moduledata
      const bytes = Buffer.from(readBytes(source, section.offset + start, length, section.name));
      for (let at = bytes.indexOf(pointer); at >= 0 && at < CHUNK; at = bytes.indexOf(pointer, at + 1)) {
        if (at + 8 * (MODULE_DATA_GOFUNC + 1) > length) continue;
        const word = (i: number) => u64(bytes, at + 8 * i);
        const isModuleData =
          word(MODULE_DATA_MINPC) >= word(MODULE_DATA_TEXT) && word(MODULE_DATA_MAXPC) === table.textEnd;
        if (!isModuleData) continue;
        const offset = addressToOffset(file, word(MODULE_DATA_GOFUNC));
        return offset < 0 ? undefined : new PagedBytes(source, offset, source.size - offset);
      }
    }
  }
  return undefined;
}

function isWritableData({ flags, type }: Section): boolean {
  return (flags & SHF_ALLOC) !== 0 && (flags & SHF_WRITE) !== 0 && type !== SHT_NOBITS;
}
