// SPDX-License-Identifier: Apache-2.0

/** A part of a process's stack as it was when a sample fired. */
export class StackCopy {
  readonly start: bigint;
  readonly #view: DataView;

  /** `start`: runtime address of the first of the bytes. */
  constructor(start: bigint, bytes: Uint8Array) {
    this.start = start;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** `size` bytes (1 to 8) as a little-endian number; undefined where they are not all in the copy. */
  read(address: bigint, size: number): bigint | undefined {
    const offset = Number(address - this.start);
    if (!(offset >= 0 && offset + size <= this.#view.byteLength)) return undefined;
    if (size === 8) return this.#view.getBigUint64(offset, true);
    let value = 0n;
    for (let i = size - 1; i >= 0; i--) value = (value << 8n) | BigInt(this.#view.getUint8(offset + i));
    return value;
  }

  word(address: bigint): bigint | undefined {
    return this.read(address, 8);
  }
}
