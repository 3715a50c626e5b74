// SPDX-License-Identifier: Apache-2.0
import { findSymbol, indexBytes, NO_SYMBOL, type SymbolIndex, SymbolIndexBuilder } from './symbol-index.ts';

const NEWLINE = 0x0a;
const SPACE = 0x20;
const TAB = 0x09;
/** Kinds of symbols that are code: local, global, weak. */
const CODE = new Set([...'tTwW'].map((c) => c.charCodeAt(0)));
/** Text of larger kernels is read up to here: some 20 MB are usual. */
const MAX_SIZE = 256 << 20;

/**
 * The kernel's functions by address, its modules' and BPF programs' among them: the text of `/proc/kallsyms`. Lines are
 * `ffffffff81000000 T name` and, of modules, `\t[module]` behind it. To a reader without CAP_SYSLOG all addresses are 0.
 */
export class KernelSymbols {
  readonly #index: SymbolIndex;
  /** Start of the kernel's text: addresses in the index are relative to it. */
  readonly #start: bigint;
  readonly #names: Uint8Array;

  private constructor(index: SymbolIndex, start: bigint, names: Uint8Array) {
    this.#index = index;
    this.#start = start;
    this.#names = names;
  }

  /** Functions known; 0 when the kernel hides its addresses. */
  get count(): number {
    return this.#index.starts.length;
  }

  get bytes(): number {
    return indexBytes(this.#index) + this.#names.length;
  }

  /** Reads the text of `/proc/kallsyms`. Lines of another form are left out. */
  static parse(text: Uint8Array): KernelSymbols {
    const size = Math.min(text.length, MAX_SIZE);
    let start = -1n;
    eachLine(text, size, (lineStart) => {
      const address = hexadecimal(text, lineStart);
      if (address !== 0n && CODE.has(text[lineStart + 17]) && (start < 0n || address < start)) start = address;
    });
    const builder = new SymbolIndexBuilder(0);
    const names = new NameBuffer();
    let last = 0;
    if (start >= 0n) {
      eachLine(text, size, (lineStart, lineEnd) => {
        const kind = text[lineStart + 17];
        if (text[lineStart + 16] !== SPACE || text[lineStart + 18] !== SPACE || !CODE.has(kind)) return;
        const address = hexadecimal(text, lineStart);
        if (address < start) return;
        const name = names.add(text.subarray(lineStart + 19, lineEnd));
        // 'T' before 't': of aliases, the one that is exported.
        const rank = kind === 0x54 ? 2 : kind === 0x74 ? 1 : 0;
        last = Math.max(last, Number(address - start));
        builder.add({ address: Number(address - start), size: 0, name, rank, isLabel: false });
      });
    }
    // A function reaches to the next one; the last one is given a page.
    const index = builder.build(
      () => last + 4096,
      (a, b) => a < b,
    );
    return new KernelSymbols(index, start, names.finish());
  }

  /** The function at an address, `name` or `name [module]`; undefined when none is known there. */
  nameAt(address: bigint): string | undefined {
    if (this.#start < 0n || address < this.#start) return undefined;
    const reference = findSymbol(this.#index, Number(address - this.#start));
    if (reference === NO_SYMBOL) return undefined;
    const end = this.#names.indexOf(0, reference);
    return Buffer.from(this.#names.buffer, this.#names.byteOffset + reference, end - reference)
      .toString('latin1')
      .replace('\t', ' ');
  }
}

/** Lines that are long enough to hold a symbol. */
function eachLine(text: Uint8Array, size: number, visit: (start: number, end: number) => void): void {
  for (let start = 0; start < size; ) {
    let end = text.indexOf(NEWLINE, start);
    if (end < 0 || end > size) end = size;
    if (end - start > 19) visit(start, end);
    start = end + 1;
  }
}

/** The 16 hexadecimal digits at an offset; 0 if there are others among them. */
function hexadecimal(text: Uint8Array, at: number): bigint {
  let high = 0;
  let low = 0;
  for (let i = 0; i < 16; i++) {
    const c = text[at + i];
    const digit = c >= 0x30 && c <= 0x39 ? c - 0x30 : c >= 0x61 && c <= 0x66 ? c - 0x57 : -1;
    if (digit < 0) return 0n;
    if (i < 8) high = high * 16 + digit;
    else low = low * 16 + digit;
  }
  return (BigInt(high) << 32n) | BigInt(low);
}

/** Names one after the other, each ended by a zero; a reference is where one begins. */
class NameBuffer {
  #bytes = new Uint8Array(1 << 16);
  #length = 1; // reference 0 is NO_SYMBOL

  add(name: Uint8Array): number {
    // `name\t[module]`, and after some names of kernels built by Clang, more tabs.
    const module = name.indexOf(TAB);
    const text = module < 0 || name[module + 1] === 0x5b ? name : name.subarray(0, module);
    const at = this.#length;
    while (at + text.length + 1 > this.#bytes.length) {
      const grown = new Uint8Array(this.#bytes.length * 2);
      grown.set(this.#bytes);
      this.#bytes = grown;
    }
    this.#bytes.set(text, at);
    this.#length = at + text.length + 1;
    return at;
  }

  finish(): Uint8Array {
    return this.#bytes.slice(0, this.#length);
  }
}
