// SPDX-License-Identifier: Apache-2.0

/**
 * From addresses to symbols, as a step function: `names[i]` holds for the addresses from `starts[i]` up to `starts[i + 1]`.
 * Eight bytes a step, no strings: `names` are references that whoever built the index can turn into names. Plain typed
 * arrays, so that a thread can hand it over.
 */
export interface SymbolIndex {
  /** What `starts` are relative to. */
  readonly base: number;
  readonly starts: Uint32Array;
  /** NO_SYMBOL for a gap. */
  readonly names: Uint32Array;
}

export const NO_SYMBOL = 0;

/** A symbol as it goes into an index. */
export interface SymbolRange {
  address: number;
  /** Bytes; 0 when not known: the symbol then reaches to the next one. */
  size: number;
  /** Reference to the name, not NO_SYMBOL. */
  name: number;
  /** Of symbols at one address, the one with the highest rank is taken. */
  rank: number;
  /** A label rather than a function: it never hides a function around it. */
  isLabel: boolean;
}

/** The reference that holds at an address; NO_SYMBOL when there is none. */
export function findSymbol(index: SymbolIndex, address: number): number {
  const offset = address - index.base;
  const { starts } = index;
  let low = 0;
  let high = starts.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (starts[middle] <= offset) low = middle + 1;
    else high = middle;
  }
  return low === 0 || offset > 0xffff_ffff ? NO_SYMBOL : index.names[low - 1];
}

/** Bytes that an index takes. */
export function indexBytes(index: SymbolIndex): number {
  return index.starts.byteLength + index.names.byteLength;
}

/** Collects symbols in columns and makes an index of them. */
export class SymbolIndexBuilder {
  readonly #base: number;
  #count = 0;
  #offsets = new Uint32Array(1024);
  #sizes = new Uint32Array(1024);
  #names = new Uint32Array(1024);
  #ranks = new Uint8Array(1024); // twice the rank, plus 1 for a label

  /** @param base lowest address; symbols below it or 4 GiB above it are left out. */
  constructor(base: number) {
    this.#base = base;
  }

  get count(): number {
    return this.#count;
  }

  /** `rank` is below 128. */
  add({ address, size, name, rank, isLabel }: SymbolRange): void {
    const offset = address - this.#base;
    if (!(offset >= 0 && offset <= 0xffff_ffff) || name === NO_SYMBOL) return;
    const i = this.#count++;
    if (i === this.#offsets.length) this.#grow();
    this.#offsets[i] = offset;
    this.#sizes[i] = Math.min(size, 0xffff_ffff - offset);
    this.#names[i] = name;
    this.#ranks[i] = rank * 2 + (isLabel ? 1 : 0);
  }

  #grow(): void {
    const length = this.#offsets.length * 2;
    const grown = (column: Uint32Array) => {
      const copy = new Uint32Array(length);
      copy.set(column);
      return copy;
    };
    this.#offsets = grown(this.#offsets);
    this.#sizes = grown(this.#sizes);
    this.#names = grown(this.#names);
    const ranks = new Uint8Array(length);
    ranks.set(this.#ranks);
    this.#ranks = ranks;
  }

  /**
   * @param endOf where a symbol without size must end at the latest: end of the section or segment of an address.
   * @param better whether the first of two names at one address, of equal rank and kind, is to be taken.
   */
  build(endOf: (address: number) => number, better: (a: number, b: number) => boolean): SymbolIndex {
    const order = this.#sorted();
    const steps = new Steps(this.#count);
    // Open symbols around the current address, the innermost last.
    const ends: number[] = [];
    const open: number[] = [];
    const closeUpTo = (offset: number) => {
      while (ends.length > 0 && ends[ends.length - 1] <= offset) {
        const end = ends[ends.length - 1];
        while (ends.length > 0 && ends[ends.length - 1] <= end) {
          ends.pop();
          open.pop();
        }
        steps.add(end, open.length > 0 ? open[open.length - 1] : NO_SYMBOL);
      }
    };
    for (let i = 0; i < order.length; ) {
      const offset = this.#offsets[order[i]];
      let best = order[i];
      for (i++; i < order.length && this.#offsets[order[i]] === offset; i++) {
        if (this.#isBetter(order[i], best, better)) best = order[i];
      }
      closeUpTo(offset);
      const size = this.#sizes[best];
      if (open.length > 0 && (this.#ranks[best] & 1) === 1) continue;
      let end = offset + size;
      if (size === 0) {
        const next = i < order.length ? this.#offsets[order[i]] : Number.POSITIVE_INFINITY;
        end = Math.min(
          next,
          endOf(this.#base + offset) - this.#base,
          ends[ends.length - 1] ?? Number.POSITIVE_INFINITY,
        );
        if (!(end > offset)) continue;
      }
      steps.add(offset, this.#names[best]);
      ends.push(end);
      open.push(this.#names[best]);
    }
    closeUpTo(Number.POSITIVE_INFINITY);
    return { base: this.#base, ...steps.finish() };
  }

  /** Rows by address. */
  #sorted(): Uint32Array {
    const order = new Uint32Array(this.#count);
    if (this.#count < 1 << 21) {
      // Address and row in one number: sorting numbers is several times faster than calling a comparison.
      const keys = new Float64Array(this.#count);
      for (let i = 0; i < keys.length; i++) keys[i] = this.#offsets[i] * (1 << 21) + i;
      keys.sort();
      for (let i = 0; i < keys.length; i++) order[i] = keys[i] % (1 << 21);
      return order;
    }
    for (let i = 0; i < order.length; i++) order[i] = i;
    return order.sort((a, b) => this.#offsets[a] - this.#offsets[b] || a - b);
  }

  #isBetter(a: number, b: number, better: (a: number, b: number) => boolean): boolean {
    const sized = (row: number) => (this.#sizes[row] > 0 ? 1 : 0);
    const label = (row: number) => this.#ranks[row] & 1;
    const difference = label(b) - label(a) || sized(a) - sized(b) || (this.#ranks[a] >> 1) - (this.#ranks[b] >> 1);
    return difference !== 0 ? difference > 0 : better(this.#names[a], this.#names[b]);
  }
}

/** The steps of an index, in ascending order. */
class Steps {
  #count = 0;
  #starts: Uint32Array;
  #names: Uint32Array;

  constructor(symbols: number) {
    // Every symbol opens one step and closes at most one.
    this.#starts = new Uint32Array(symbols * 2);
    this.#names = new Uint32Array(symbols * 2);
  }

  add(start: number, name: number): void {
    if (start > 0xffff_ffff) return;
    // A step of no length is replaced.
    if (this.#count > 0 && this.#starts[this.#count - 1] === start) this.#count--;
    if (this.#count > 0 && this.#names[this.#count - 1] === name) return;
    this.#starts[this.#count] = start;
    this.#names[this.#count] = name;
    this.#count++;
  }

  finish(): { starts: Uint32Array; names: Uint32Array } {
    return { starts: this.#starts.slice(0, this.#count), names: this.#names.slice(0, this.#count) };
  }
}
