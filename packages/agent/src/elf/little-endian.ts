// SPDX-License-Identifier: Apache-2.0

/**
 * Little-endian integers out of bytes. Callers check bounds; outside of them the results are meaningless numbers,
 * never an exception.
 */
export function u16(bytes: Uint8Array, offset: number): number {
  return bytes[offset] | (bytes[offset + 1] << 8);
}

export function u32(bytes: Uint8Array, offset: number): number {
  return (bytes[offset] | (bytes[offset + 1] << 8) | (bytes[offset + 2] << 16) | (bytes[offset + 3] << 24)) >>> 0;
}

export function i32(bytes: Uint8Array, offset: number): number {
  return bytes[offset] | (bytes[offset + 1] << 8) | (bytes[offset + 2] << 16) | (bytes[offset + 3] << 24);
}

/** An unsigned 64-bit value as a number: exact below 2^53, rounded above. See `isExact`. */
export function u64(bytes: Uint8Array, offset: number): number {
  return u32(bytes, offset) + u32(bytes, offset + 4) * 0x1_0000_0000;
}

/** A signed 64-bit value as a number: exact within ±2^53, rounded outside. */
export function i64(bytes: Uint8Array, offset: number): number {
  return u32(bytes, offset) + i32(bytes, offset + 4) * 0x1_0000_0000;
}

/** Whether a value is an integer that a number holds exactly, and not negative: 0 ≤ value < 2^53. */
export function isExact(value: number): boolean {
  return value >= 0 && value <= Number.MAX_SAFE_INTEGER;
}

const ascii = new TextDecoder('latin1');
const utf8 = new TextDecoder('utf-8');

/** The NUL-terminated string at `offset`; without a NUL, up to `limit` bytes or the end. */
export function cString(bytes: Uint8Array, offset: number, limit = 1 << 16): string {
  const end = Math.min(bytes.length, offset + limit);
  let stop = offset;
  let plain = true;
  while (stop < end && bytes[stop] !== 0) {
    if (bytes[stop] >= 0x80) plain = false;
    stop++;
  }
  return (plain ? ascii : utf8).decode(bytes.subarray(offset, stop));
}
