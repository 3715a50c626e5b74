// SPDX-License-Identifier: Apache-2.0

/**
 * DWARF expressions in call frame information, reduced to the few forms that a rule can hold. They are evaluated over
 * symbols: a value is `register + offset [+ 8 * index]`, or `*(that) + addend`; anything else is "no known form".
 * Source: DWARF 5 section 2.5.
 */
import { Cursor } from './cursor.ts';
import { REG_RSP } from './row.ts';

export const FORM_UNKNOWN = 0;
export const FORM_CONSTANT = 1; // offset
export const FORM_REGISTER = 2; // register + offset [+ 8 * index]
export const FORM_DEREF = 3; // *(register + offset [+ 8 * index]) + addend
export const FORM_PLT = 4; // rsp + offset + ((rip & 15) >= addend ? 8 : 0)
const FORM_INDEX = 5; // 8 * index, on its way into a sum

export interface ExpressionValue {
  form: number;
  register: number;
  offset: number;
  addend: number;
  /** Register of the index; -1: none. */
  index: number;
}

const DW_OP_deref = 0x06;
const DW_OP_const1u = 0x08;
const DW_OP_const8s = 0x0f;
const DW_OP_minus = 0x1c;
const DW_OP_mul = 0x1e;
const DW_OP_plus = 0x22;
const DW_OP_plus_uconst = 0x23;
const DW_OP_lit0 = 0x30;
const DW_OP_lit31 = 0x4f;
const DW_OP_breg0 = 0x70;
const DW_OP_breg31 = 0x8f;
const DW_OP_bregx = 0x92;
const DW_OP_nop = 0x96;

const MAX_DEPTH = 4;

/** Evaluates expressions; one object serves many calls and holds the result of the last. */
export class ExpressionReader implements ExpressionValue {
  form = FORM_UNKNOWN;
  register = 0;
  offset = 0;
  addend = 0;
  index = -1;
  readonly #cursor = new Cursor(new Uint8Array(0));
  readonly #stack: ExpressionValue[] = Array.from({ length: MAX_DEPTH }, () => ({
    form: 0,
    register: 0,
    offset: 0,
    addend: 0,
    index: -1,
  }));
  #depth = 0;

  /** Evaluates the expression in bytes[at, end) into the fields of this object. */
  read(bytes: Uint8Array, at: number, end: number): void {
    this.form = FORM_UNKNOWN;
    if (this.#readPlt(bytes, at, end)) return;
    const cursor = this.#cursor;
    cursor.bytes = bytes;
    cursor.at = at;
    cursor.end = end;
    this.#depth = 0;
    while (cursor.at < end) {
      if (!this.#step(cursor)) return;
    }
    if (this.#depth === 0 || cursor.overrun) return;
    const result = this.#stack[this.#depth - 1];
    this.form = result.form === FORM_INDEX ? FORM_UNKNOWN : result.form;
    this.register = result.register;
    this.offset = result.offset;
    this.addend = result.addend;
    this.index = result.index;
  }

  #step(cursor: Cursor): boolean {
    const op = cursor.u8();
    if (op >= DW_OP_breg0 && op <= DW_OP_breg31) return this.#push(FORM_REGISTER, op - DW_OP_breg0, cursor.sleb());
    if (op >= DW_OP_lit0 && op <= DW_OP_lit31) return this.#push(FORM_CONSTANT, 0, op - DW_OP_lit0);
    if (op >= DW_OP_const1u && op <= DW_OP_const8s) return this.#push(FORM_CONSTANT, 0, constant(cursor, op));
    switch (op) {
      case DW_OP_bregx:
        return this.#push(FORM_REGISTER, cursor.uleb(), cursor.sleb());
      case 0x10:
        return this.#push(FORM_CONSTANT, 0, cursor.uleb());
      case 0x11:
        return this.#push(FORM_CONSTANT, 0, cursor.sleb());
      case DW_OP_plus_uconst:
        return this.#push(FORM_CONSTANT, 0, cursor.uleb()) && this.#add(1);
      case DW_OP_plus:
        return this.#add(1);
      case DW_OP_minus:
        return this.#add(-1);
      case DW_OP_mul:
        return this.#scale();
      case DW_OP_deref: {
        const top = this.#stack[this.#depth - 1];
        if (this.#depth === 0 || top.form !== FORM_REGISTER) return false;
        top.form = FORM_DEREF;
        return true;
      }
      case DW_OP_nop:
        return true;
      default:
        return false;
    }
  }

  #push(form: number, register: number, offset: number): boolean {
    if (this.#depth === MAX_DEPTH) return false;
    const top = this.#stack[this.#depth++];
    top.form = form;
    top.register = register;
    top.offset = offset;
    top.addend = 0;
    top.index = -1;
    return true;
  }

  /** register * 8 */
  #scale(): boolean {
    if (this.#depth < 2) return false;
    const below = this.#stack[this.#depth - 2];
    const top = this.#stack[this.#depth - 1];
    this.#depth--;
    if (top.form !== FORM_CONSTANT || top.offset !== 8) return false;
    if (below.form !== FORM_REGISTER || below.offset !== 0 || below.index >= 0) return false;
    below.form = FORM_INDEX;
    return true;
  }

  /** Adds (sign 1) or subtracts (sign -1) the top from the value below it; one of the two is a constant or an index. */
  #add(sign: 1 | -1): boolean {
    if (this.#depth < 2) return false;
    let below = this.#stack[this.#depth - 2];
    let top = this.#stack[this.#depth - 1];
    this.#depth--;
    if (sign === 1 && below.form === FORM_CONSTANT) {
      [below, top] = [top, below];
      [this.#stack[this.#depth - 1], this.#stack[this.#depth]] = [below, top];
    }
    if (top.form === FORM_INDEX && below.form === FORM_REGISTER && below.index < 0 && sign === 1) {
      below.index = top.register;
      return true;
    }
    if (top.form !== FORM_CONSTANT || below.form === FORM_INDEX) return false;
    if (below.form === FORM_DEREF) below.addend += sign * top.offset;
    else below.offset += sign * top.offset;
    return true;
  }

  /**
   * The expression that linkers write for lazily bound PLT entries, where the stack grows by a word at byte N of 16:
   * breg7 O; breg16 0; lit15; and; litN; ge; lit3; shl; plus.
   */
  #readPlt(bytes: Uint8Array, at: number, end: number): boolean {
    if (end - at !== 11 || bytes[at] !== DW_OP_breg0 + REG_RSP || bytes[at + 1] >= 0x40) return false;
    const threshold = bytes[at + 6] - DW_OP_lit0;
    const rest = [0x80, 0x00, 0x3f, 0x1a, bytes[at + 6], 0x2a, 0x33, 0x24, 0x22];
    if (threshold < 0 || threshold > 15 || !rest.every((byte, i) => bytes[at + 2 + i] === byte)) return false;
    this.form = FORM_PLT;
    this.register = REG_RSP;
    this.offset = bytes[at + 1];
    this.addend = threshold;
    this.index = -1;
    return true;
  }
}

function constant(cursor: Cursor, op: number): number {
  switch (op - DW_OP_const1u) {
    case 0:
      return cursor.u8();
    case 1:
      return (cursor.u8() << 24) >> 24;
    case 2:
      return cursor.u16();
    case 3:
      return cursor.i16();
    case 4:
      return cursor.u32();
    case 5:
      return cursor.i32();
    case 6:
      return cursor.u64();
    default:
      return cursor.i64();
  }
}
