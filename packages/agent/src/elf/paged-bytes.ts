// SPDX-License-Identifier: Apache-2.0
import { type ByteSource, readBytes } from './source.ts';

const PAGE_SHIFT = 13;
const PAGE_SIZE = 1 << PAGE_SHIFT;
const PAGES = 256;

/**
 * Random access to a part of a file by single values, through a small cache of pages: 2 MiB of memory however large
 * the part is. Positions are relative to the part; outside of it values read as zero.
 */
export class PagedBytes {
  readonly size: number;
  readonly #source: ByteSource;
  readonly #offset: number;
  readonly #pages: (Uint8Array | undefined)[] = new Array(PAGES).fill(undefined);
  readonly #numbers = new Int32Array(PAGES).fill(-1);

  /** `offset` and `size` locate the part in the source. */
  constructor(source: ByteSource, offset: number, size: number) {
    this.#source = source;
    this.#offset = offset;
    this.size = Math.max(0, Math.min(size, source.size - offset));
  }

  u8(at: number): number {
    if (!(at >= 0 && at < this.size)) return 0;
    return this.#page(Math.floor(at / PAGE_SIZE))[at % PAGE_SIZE];
  }

  u32(at: number): number {
    const inside = at % PAGE_SIZE;
    if (at >= 0 && at + 4 <= this.size && inside <= PAGE_SIZE - 4) {
      const page = this.#page(Math.floor(at / PAGE_SIZE));
      return (page[inside] | (page[inside + 1] << 8) | (page[inside + 2] << 16) | (page[inside + 3] << 24)) >>> 0;
    }
    return (this.u8(at) | (this.u8(at + 1) << 8) | (this.u8(at + 2) << 16) | (this.u8(at + 3) << 24)) >>> 0;
  }

  /** Exact below 2^53. */
  u64(at: number): number {
    return this.u32(at) + this.u32(at + 4) * 0x1_0000_0000;
  }

  /** The NUL-terminated string at a position, at most `limit` bytes of it. */
  cString(at: number, limit = 1 << 12): string {
    const bytes: number[] = [];
    for (let i = 0; i < limit; i++) {
      const byte = this.u8(at + i);
      if (byte === 0) break;
      bytes.push(byte);
    }
    return Buffer.from(bytes).toString('utf8');
  }

  #page(number: number): Uint8Array {
    const slot = number & (PAGES - 1);
    if (this.#numbers[slot] !== number) {
      const at = number * PAGE_SIZE;
      this.#pages[slot] = readBytes(this.#source, this.#offset + at, Math.min(PAGE_SIZE, this.size - at), 'page');
      this.#numbers[slot] = number;
    }
    return this.#pages[slot]!;
  }
}
