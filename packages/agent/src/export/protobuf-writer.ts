// SPDX-License-Identifier: Apache-2.0

const WIRE_VARINT = 0;
const WIRE_FIXED64 = 1;
const WIRE_BYTES = 2;

/**
 * Writes protobuf messages from back to front, so that the length of a nested message is known when its header is
 * written and nothing is measured or moved twice. Write the fields of a message, and the elements of a repeated field,
 * in reverse order:
 *
 *     const end = writer.length;
 *     writer.string(2, 'last field');
 *     writer.uint(1, 42);
 *     writer.message(7, end); // what was written since `end` is the body of field 7
 *
 * Field methods leave out zero values, as proto3 does; the `element` forms do not, for repeated fields and oneofs.
 */
export class ProtobufWriter {
  #buffer: Buffer;
  #position: number;

  constructor(capacity = 64 * 1024) {
    this.#buffer = Buffer.allocUnsafe(capacity);
    this.#position = capacity;
  }

  /** Bytes written so far. */
  get length(): number {
    return this.#buffer.length - this.#position;
  }

  /** What was written; the writer must not be used afterwards. */
  finish(): Uint8Array {
    return this.#buffer.subarray(this.#position);
  }

  /** An unsigned integer or enum: a safe, non-negative integer. */
  uint(field: number, value: number): void {
    if (value !== 0) this.uintElement(field, value);
  }

  uintElement(field: number, value: number): void {
    this.varint(value);
    this.#tag(field, WIRE_VARINT);
  }

  /** An unsigned 64-bit integer in two halves. */
  uint64(field: number, low: number, high: number): void {
    if (low !== 0 || high !== 0) {
      this.#varint64(low, high);
      this.#tag(field, WIRE_VARINT);
    }
  }

  /** A 64-bit integer, signed ones in two's complement. */
  int64(field: number, value: bigint): void {
    if (value !== 0n) this.int64Element(field, value);
  }

  int64Element(field: number, value: bigint): void {
    this.#varint64(Number(BigInt.asUintN(32, value)), Number(BigInt.asUintN(32, value >> 32n)));
    this.#tag(field, WIRE_VARINT);
  }

  fixed64(field: number, value: bigint): void {
    if (value !== 0n) {
      this.fixed64Value(value);
      this.#tag(field, WIRE_FIXED64);
    }
  }

  boolElement(field: number, value: boolean): void {
    this.uintElement(field, value ? 1 : 0);
  }

  string(field: number, text: string): void {
    if (text !== '') this.stringElement(field, text);
  }

  stringElement(field: number, text: string): void {
    const size = Buffer.byteLength(text);
    this.#reserve(size);
    this.#position -= size;
    this.#buffer.write(text, this.#position, size);
    this.varint(size);
    this.#tag(field, WIRE_BYTES);
  }

  bytes(field: number, bytes: Uint8Array): void {
    this.#reserve(bytes.length);
    this.#position -= bytes.length;
    this.#buffer.set(bytes, this.#position);
    this.varint(bytes.length);
    this.#tag(field, WIRE_BYTES);
  }

  /** Makes everything since `end` (a former `length`) the body of a nested message or of a packed repeated field. */
  message(field: number, end: number): void {
    this.varint(this.length - end);
    this.#tag(field, WIRE_BYTES);
  }

  /** Like `message`, but leaves an empty packed field out. */
  packed(field: number, end: number): void {
    if (this.length > end) this.message(field, end);
  }

  /** A bare varint, as an element of a packed field: a safe, non-negative integer. */
  varint(value: number): void {
    if (value < 0x80) {
      this.#reserve(1);
      this.#buffer[--this.#position] = value;
    } else if (value < 0x4000) {
      this.#reserve(2);
      this.#buffer[--this.#position] = value >>> 7;
      this.#buffer[--this.#position] = (value & 0x7f) | 0x80;
    } else {
      this.#varint64(value >>> 0, Math.floor(value / 0x1_0000_0000));
    }
  }

  /** A bare fixed64, as an element of a packed field. */
  fixed64Value(value: bigint): void {
    this.#reserve(8);
    this.#position -= 8;
    this.#buffer.writeBigUInt64LE(BigInt.asUintN(64, value), this.#position);
  }

  #varint64(low: number, high: number): void {
    this.#reserve(10);
    const buffer = this.#buffer;
    // Size first, then the bytes from front to back.
    const bits = high !== 0 ? 64 - Math.clz32(high) : 32 - Math.clz32(low | 1);
    const size = Math.ceil(bits / 7);
    let at = this.#position - size;
    this.#position = at;
    let lo = low >>> 0;
    let hi = high >>> 0;
    while (hi !== 0 || lo >= 0x80) {
      buffer[at++] = (lo & 0x7f) | 0x80;
      lo = ((lo >>> 7) | (hi << 25)) >>> 0;
      hi >>>= 7;
    }
    buffer[at] = lo;
  }

  #tag(field: number, wire: number): void {
    this.varint(field * 8 + wire);
  }

  #reserve(size: number): void {
    if (this.#position >= size) return;
    const used = this.length;
    const grown = Buffer.allocUnsafe(Math.max(this.#buffer.length * 2, used + size));
    this.#buffer.copy(grown, grown.length - used, this.#position);
    this.#buffer = grown;
    this.#position = grown.length - used;
  }
}
