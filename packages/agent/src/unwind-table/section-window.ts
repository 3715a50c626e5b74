// SPDX-License-Identifier: Apache-2.0
import { type ByteSource, readBytes } from '../elf/source.ts';

const WINDOW_SIZE = 1 << 17;
/** Small parts are read at once. */
const SMALL = 1 << 23;
/** Others that are read more than so many times over, for the order of reading is not their own, are kept as a whole. */
const MAX_READS_OVER = 2;
const MAX_WHOLE = 1 << 28;

/**
 * A part of a file through a window of bytes that moves over it, so that a section of 100 MB costs little memory if
 * reading goes mostly forward.
 */
export class SectionWindow {
  readonly size: number;
  /** File virtual address of the section's first byte; 0 for sections that are not loaded. */
  readonly address: number;
  /** The bytes in the window; valid until the next `move`. */
  bytes: Uint8Array = new Uint8Array(0);
  /** Offset inside the section of the first byte of the window. */
  start = 0;
  readonly #source: ByteSource;
  readonly #offset: number;
  #bytesRead = 0;

  /** `offset` and `size` locate the section in the source; they must lie inside it. */
  constructor(source: ByteSource, offset: number, size: number, address: number) {
    this.#source = source;
    this.#offset = offset;
    this.size = size;
    this.address = address;
  }

  /** Moves the window to hold `length` bytes from `offset` inside the section; returns where they begin in `bytes`. */
  move(offset: number, length: number): number {
    if (offset < this.start || offset + length > this.start + this.bytes.length) {
      const isScattered = this.#bytesRead > MAX_READS_OVER * this.size && this.size <= MAX_WHOLE;
      const isWhole = this.size <= SMALL || isScattered;
      const from = isWhole ? 0 : offset < this.start ? Math.max(0, offset + length - WINDOW_SIZE) : offset;
      const wanted = Math.max(WINDOW_SIZE, offset + length - from);
      const size = isWhole ? this.size : Math.min(this.size - from, wanted);
      this.#bytesRead += size;
      this.bytes = readBytes(this.#source, this.#offset + from, size, 'section');
      this.start = from;
    }
    return offset - this.start;
  }
}
