// SPDX-License-Identifier: Apache-2.0
import { i32, i64, u16, u32, u64 } from '../elf/little-endian.ts';

/**
 * A reading position in bytes. Reading past `end` yields zeros and leaves `at` beyond `end` (`overrun`): parsers check
 * once, after a unit is read, instead of at every byte, and loops that stop at `end` always come to a halt.
 */
export class Cursor {
  bytes: Uint8Array;
  at: number;
  end: number;

  constructor(bytes: Uint8Array, at = 0, end = bytes.length) {
    this.bytes = bytes;
    this.at = at;
    this.end = end;
  }

  get overrun(): boolean {
    return this.at > this.end;
  }

  #take(length: number): number {
    const at = this.at;
    this.at += length;
    return this.at <= this.end ? at : -1;
  }

  u8(): number {
    const at = this.at++;
    return at < this.end ? this.bytes[at] : 0;
  }

  u16(): number {
    const at = this.#take(2);
    return at < 0 ? 0 : u16(this.bytes, at);
  }

  i16(): number {
    return (this.u16() << 16) >> 16;
  }

  u32(): number {
    const at = this.#take(4);
    return at < 0 ? 0 : u32(this.bytes, at);
  }

  i32(): number {
    const at = this.#take(4);
    return at < 0 ? 0 : i32(this.bytes, at);
  }

  /** Exact below 2^53. */
  u64(): number {
    const at = this.#take(8);
    return at < 0 ? 0 : u64(this.bytes, at);
  }

  i64(): number {
    const at = this.#take(8);
    return at < 0 ? 0 : i64(this.bytes, at);
  }

  /** Unsigned LEB128; exact below 2^53. */
  uleb(): number {
    const first = this.u8();
    if (first < 0x80) return first;
    let value = first & 0x7f;
    let scale = 0x80;
    while (this.at < this.end) {
      const byte = this.bytes[this.at++];
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
      if (scale < 2 ** 70) scale *= 0x80;
    }
    this.at = this.end + 1;
    return 0;
  }

  /** Signed LEB128; exact within ±2^53. */
  sleb(): number {
    let value = 0;
    let scale = 1;
    while (this.at < this.end) {
      const byte = this.bytes[this.at++];
      value += (byte & 0x7f) * scale;
      if (scale < 2 ** 70) scale *= 0x80;
      if (byte < 0x80) return byte & 0x40 ? value - scale : value;
    }
    this.at = this.end + 1;
    return 0;
  }

  skip(length: number): void {
    this.at += length;
  }
}
