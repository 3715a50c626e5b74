// SPDX-License-Identifier: Apache-2.0
import type { Cursor } from './cursor.ts';

/** Exception-header pointer encodings (Linux Standard Base, "DWARF Exception Header Encoding"). */
export const DW_EH_PE_absptr = 0x00;
export const DW_EH_PE_omit = 0xff;
const DW_EH_PE_indirect = 0x80;

/** What relative encodings are relative to, as file virtual addresses; NaN where it is not known. */
export interface PointerBases {
  /** Address of byte 0 of the cursor's bytes (for pc-relative values). */
  bytes: number;
  text: number;
  data: number;
  /** Start of the function at hand. */
  function: number;
}

/**
 * Reads an encoded pointer. NaN for `omit`, for an indirect pointer (its target is only known at run time), for an
 * encoding that does not exist and for one relative to a base that is not known.
 */
export function readPointer(cursor: Cursor, encoding: number, bases: PointerBases): number {
  if (encoding === DW_EH_PE_omit) return Number.NaN;
  if ((encoding & 0x70) === 0x50) cursor.at = Math.ceil(cursor.at / 8) * 8; // aligned: an absolute pointer follows
  let base = 0;
  switch (encoding & 0x70) {
    case 0x00:
    case 0x50:
      break;
    case 0x10:
      base = bases.bytes + cursor.at;
      break;
    case 0x20:
      base = bases.text;
      break;
    case 0x30:
      base = bases.data;
      break;
    case 0x40:
      base = bases.function;
      break;
    default:
      base = Number.NaN;
  }
  const value = readValue(cursor, encoding);
  return encoding & DW_EH_PE_indirect ? Number.NaN : base + value;
}

/** The number behind an encoding without its base: lengths of functions are encoded so. */
export function readValue(cursor: Cursor, encoding: number): number {
  switch (encoding & 0x0f) {
    case 0x00:
    case 0x04:
      return cursor.u64();
    case 0x01:
      return cursor.uleb();
    case 0x02:
      return cursor.u16();
    case 0x03:
      return cursor.u32();
    case 0x08:
    case 0x0c:
      return cursor.i64();
    case 0x09:
      return cursor.sleb();
    case 0x0a:
      return cursor.i16();
    case 0x0b:
      return cursor.i32();
    default:
      return Number.NaN;
  }
}
