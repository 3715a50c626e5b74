// SPDX-License-Identifier: Apache-2.0

/**
 * Runs the call frame programs of FDEs and turns each row into a rule. Source: DWARF 5 section 6.4.2 and 6.4.3, with
 * GNU extensions as in GCC's unwind-dw2.c.
 */
import { ExpressionReader, FORM_DEREF, FORM_PLT, FORM_REGISTER } from './cfa-expression.ts';
import type { Cie, FrameSection } from './cfi.ts';
import { Cursor } from './cursor.ts';
import { readPointer } from './pointer-encoding.ts';
import * as row from './row.ts';

/** Takes the rules of consecutive address ranges [start, end). */
export interface RuleSink {
  add(start: number, end: number, rule: number): void;
}

/** How the caller's value of a register is found (DWARF 5, 6.4.1). */
const UNSPECIFIED = 0;
const UNDEFINED = 1;
const SAME_VALUE = 2;
const OFFSET = 3; // saved at CFA + value
const VAL_OFFSET = 4; // is CFA + value
const REGISTER = 5; // in register `from`
const EXPRESSION = 6; // saved at register `from` + value
const UNKNOWN = 7; // by a form that is not understood

const CFA_NONE = 0;
const CFA_REGISTER = 1;
const CFA_DEREF = 2;
const CFA_PLT = 3;
const CFA_UNKNOWN = 4;

// The state of a program is a row of numbers: five for the CFA, then three (how, value, from) for each tracked register.
const CFA_KIND = 0;
const CFA_BASE = 1;
const CFA_OFFSET = 2;
const CFA_ADDEND = 3;
const CFA_INDEX = 4; // register of an index, plus one; 0: none
const FIRST_REGISTER = 5;
const HOW = 0;
const VALUE = 1;
const FROM = 2;
/** Offset in the state of each tracked register; 0: not tracked. */
const SLOT = new Uint8Array(32);
const TRACKED = [...row.SAVED_REGISTERS, row.REG_RBP, row.REG_RSP, row.REG_RA];
for (const [i, register] of TRACKED.entries()) SLOT[register] = FIRST_REGISTER + 3 * i;
const STATE_SIZE = FIRST_REGISTER + 3 * TRACKED.length;
const RBP = SLOT[row.REG_RBP];
const RSP = SLOT[row.REG_RSP];
const RA = SLOT[row.REG_RA];

const MAX_REMEMBERED = 64;
/** Rows of all programs of a file together; the largest files known have some ten million. */
const MAX_ROWS = 1 << 26;
const GREGS_RSP = 160; // offset of rsp in ucontext (uc_mcontext at 40, rsp its 16th register); rip follows

export class CfaProgram {
  readonly #rules: row.RuleSet;
  readonly #state = new Float64Array(STATE_SIZE);
  readonly #remembered = new Float64Array(STATE_SIZE * MAX_REMEMBERED);
  readonly #expression = new ExpressionReader();
  readonly #initial = new Map<Cie, Float64Array | undefined>();
  #depth = 0;
  #rows = 0;

  constructor(rules: row.RuleSet) {
    this.#rules = rules;
  }

  /**
   * Runs the program of the FDE that the section has selected and hands its rules to the sink. A malformed program
   * gives RULE_UNSUPPORTED from the instruction that is not understood to the end of the function.
   */
  run(section: FrameSection, sink: RuleSink): void {
    const { cie, start, end } = section;
    let initial = this.#initial.get(cie);
    if (initial === undefined && !this.#initial.has(cie)) {
      this.#state.fill(0);
      this.#depth = 0;
      const cursor = new Cursor(cie.instructions);
      if (this.#execute(cursor, section, this.#state, 0, 0, undefined) >= 0) initial = this.#state.slice();
      this.#initial.set(cie, initial);
    }
    if (initial === undefined || cie.raColumn !== row.REG_RA) {
      sink.add(start, end, this.#unsupported(row.UNSUPPORTED_PROGRAM));
      return;
    }
    this.#state.set(initial);
    this.#depth = 0;
    const at = this.#execute(section.cursor, section, initial, start, end, sink);
    if (at >= 0) {
      if (at < end) sink.add(at, end, this.#rule(cie.isSignal));
    } else if (-at - 1 < end) {
      sink.add(-at - 1, end, this.#unsupported(row.UNSUPPORTED_PROGRAM));
    }
  }

  #unsupported(code: number): number {
    return this.#rules.intern(0, row.packHead(row.RULE_UNSUPPORTED, 0, 0), 0, code << 16);
  }

  /** Executes up to the cursor's end. Returns the location reached, or -1 - location if it cannot go on from there. */
  #execute(
    cursor: Cursor,
    section: FrameSection,
    initial: Float64Array,
    start: number,
    end: number,
    sink: RuleSink | undefined,
  ): number {
    const { codeAlign, dataAlign, encoding, isSignal } = section.cie;
    const state = this.#state;
    let location = start;
    while (cursor.at < cursor.end) {
      const byte = cursor.bytes[cursor.at++];
      const low = byte & 0x3f;
      let advance = 0;
      switch (byte >> 6) {
        case 1:
          advance = low * codeAlign;
          break;
        case 2:
          this.#set(low, OFFSET, cursor.uleb() * dataAlign, 0);
          continue;
        case 3:
          this.#restore(low, initial);
          continue;
        default:
          switch (low) {
            case 0x00: // nop
            case 0x2e: // GNU_args_size: bytes of arguments on the stack, of no use here
              if (low !== 0) cursor.uleb();
              continue;
            case 0x01: {
              // set_loc
              const to = readPointer(cursor, encoding, section.bases);
              if (!(to >= location)) return -1 - location;
              advance = to - location;
              break;
            }
            case 0x02:
              advance = cursor.u8() * codeAlign;
              break;
            case 0x03:
              advance = cursor.u16() * codeAlign;
              break;
            case 0x04:
              advance = cursor.u32() * codeAlign;
              break;
            case 0x1d: // MIPS_advance_loc8
              advance = cursor.u64() * codeAlign;
              break;
            case 0x05: // offset_extended
              this.#set(cursor.uleb(), OFFSET, cursor.uleb() * dataAlign, 0);
              continue;
            case 0x11: // offset_extended_sf
              this.#set(cursor.uleb(), OFFSET, cursor.sleb() * dataAlign, 0);
              continue;
            case 0x2f: // GNU_negative_offset_extended
              this.#set(cursor.uleb(), OFFSET, -cursor.uleb() * dataAlign, 0);
              continue;
            case 0x14: // val_offset
              this.#set(cursor.uleb(), VAL_OFFSET, cursor.uleb() * dataAlign, 0);
              continue;
            case 0x15: // val_offset_sf
              this.#set(cursor.uleb(), VAL_OFFSET, cursor.sleb() * dataAlign, 0);
              continue;
            case 0x06: // restore_extended
              this.#restore(cursor.uleb(), initial);
              continue;
            case 0x07:
              this.#set(cursor.uleb(), UNDEFINED, 0, 0);
              continue;
            case 0x08:
              this.#set(cursor.uleb(), SAME_VALUE, 0, 0);
              continue;
            case 0x09:
              this.#set(cursor.uleb(), REGISTER, 0, cursor.uleb());
              continue;
            case 0x0a: // remember_state
              if (this.#depth === MAX_REMEMBERED) return -1 - location;
              this.#remembered.set(state, STATE_SIZE * this.#depth++);
              continue;
            case 0x0b: // restore_state
              if (this.#depth === 0) return -1 - location;
              this.#depth--;
              state.set(this.#remembered.subarray(STATE_SIZE * this.#depth, STATE_SIZE * (this.#depth + 1)));
              continue;
            case 0x0c: // def_cfa
              state[CFA_KIND] = CFA_REGISTER;
              state[CFA_BASE] = cursor.uleb();
              state[CFA_OFFSET] = cursor.uleb();
              continue;
            case 0x12: // def_cfa_sf
              state[CFA_KIND] = CFA_REGISTER;
              state[CFA_BASE] = cursor.uleb();
              state[CFA_OFFSET] = cursor.sleb() * dataAlign;
              continue;
            case 0x0d: // def_cfa_register
              if (state[CFA_KIND] !== CFA_REGISTER) state[CFA_OFFSET] = 0;
              state[CFA_KIND] = CFA_REGISTER;
              state[CFA_BASE] = cursor.uleb();
              continue;
            case 0x0e: // def_cfa_offset
              state[CFA_OFFSET] = cursor.uleb();
              continue;
            case 0x13: // def_cfa_offset_sf
              state[CFA_OFFSET] = cursor.sleb() * dataAlign;
              continue;
            case 0x0f: // def_cfa_expression
              this.#defineCfa(cursor);
              continue;
            case 0x10: // expression
              this.#setExpression(cursor, EXPRESSION);
              continue;
            case 0x16: // val_expression
              this.#setExpression(cursor, UNKNOWN);
              continue;
            default:
              return -1 - location;
          }
      }
      if (cursor.overrun) return -1 - location;
      if (advance > 0) {
        if (sink === undefined || ++this.#rows > MAX_ROWS) return -1 - location; // a CIE covers no addresses
        const next = location + advance;
        sink.add(location, Math.min(next, end), this.#rule(isSignal));
        location = next;
        if (location >= end) return location;
      }
    }
    return cursor.overrun ? -1 - location : location;
  }

  #set(register: number, how: number, value: number, from: number): void {
    const slot = register < SLOT.length ? SLOT[register] : 0;
    if (slot === 0) return;
    this.#state[slot + HOW] = how;
    this.#state[slot + VALUE] = value;
    this.#state[slot + FROM] = from;
  }

  #restore(register: number, initial: Float64Array): void {
    const slot = register < SLOT.length ? SLOT[register] : 0;
    if (slot === 0) return;
    this.#set(register, initial[slot + HOW], initial[slot + VALUE], initial[slot + FROM]);
  }

  /** Reads the expression at the cursor into #expression and moves behind it. */
  #readExpression(cursor: Cursor): void {
    const length = cursor.uleb();
    const end = cursor.at + length;
    this.#expression.read(cursor.bytes, cursor.at, Math.min(end, cursor.end));
    cursor.at = end;
  }

  #setExpression(cursor: Cursor, how: number): void {
    const register = cursor.uleb();
    this.#readExpression(cursor);
    const { form, offset, index, register: from } = this.#expression;
    this.#set(register, form === FORM_REGISTER && index < 0 ? how : UNKNOWN, offset, from);
  }

  #defineCfa(cursor: Cursor): void {
    this.#readExpression(cursor);
    const state = this.#state;
    const { form, register, offset, addend, index } = this.#expression;
    state[CFA_KIND] = CFA_UNKNOWN;
    if (form === FORM_REGISTER && index < 0) state[CFA_KIND] = CFA_REGISTER;
    else if (form === FORM_DEREF) state[CFA_KIND] = CFA_DEREF;
    else if (form === FORM_PLT) state[CFA_KIND] = CFA_PLT;
    state[CFA_INDEX] = index + 1;
    state[CFA_BASE] = register;
    state[CFA_OFFSET] = offset;
    state[CFA_ADDEND] = addend;
  }

  /** The number of the rule that says the same as the current state. */
  #rule(isSignal: boolean): number {
    const state = this.#state;
    const cfaKind = state[CFA_KIND];
    const cfaOffset = state[CFA_OFFSET];
    const base = state[CFA_BASE];
    if (state[RA + HOW] === UNDEFINED) return this.#rules.intern(0, row.packHead(row.RULE_ROOT, 0, 0), 0, 0);
    if (isSignal) return this.#signalRule();
    if (cfaKind === CFA_NONE || cfaKind === CFA_UNKNOWN) return this.#unsupported(row.UNSUPPORTED_CFA_EXPRESSION);
    if (!(base < row.REG_COUNT)) return this.#unsupported(row.UNSUPPORTED_CFA_REGISTER);
    if (!(cfaOffset >= -0x8000_0000 && cfaOffset <= 0x7fff_ffff)) return this.#unsupported(row.UNSUPPORTED_RANGE);
    const rspHow = state[RSP + HOW];
    if (rspHow > SAME_VALUE && !(rspHow === VAL_OFFSET && state[RSP + VALUE] === 0)) {
      return this.#unsupported(row.UNSUPPORTED_RSP);
    }

    let kind = cfaKind === CFA_PLT ? row.RULE_PLT : row.RULE_CFA;
    let aux = cfaKind === CFA_PLT ? state[CFA_ADDEND] : 0;
    // What saved registers are relative to: the CFA, or for CFA_DEREF possibly its base register.
    let fromBase = false;
    if (cfaKind === CFA_DEREF) {
      kind = row.RULE_CFA_DEREF;
      aux = state[CFA_ADDEND];
      if (aux < 0 || (aux & row.DEREF_ADDEND) !== aux) return this.#unsupported(row.UNSUPPORTED_RANGE);
      if (state[CFA_INDEX] > row.REG_COUNT) return this.#unsupported(row.UNSUPPORTED_CFA_REGISTER);
      aux |= state[CFA_INDEX] << row.DEREF_INDEX_SHIFT;
      fromBase = this.#savesFromBase(base);
      if (fromBase) aux |= row.DEREF_SAVED_FROM_BASE;
    }

    let raOffset = 0;
    switch (state[RA + HOW]) {
      case OFFSET:
        raOffset = state[RA + VALUE] / 8;
        break;
      case EXPRESSION:
        if (cfaKind !== CFA_REGISTER || state[RA + FROM] !== base)
          return this.#unsupported(row.UNSUPPORTED_RETURN_ADDRESS);
        raOffset = (state[RA + VALUE] - cfaOffset) / 8;
        break;
      case REGISTER:
        if (kind !== row.RULE_CFA || !(state[RA + FROM] < row.REG_COUNT))
          return this.#unsupported(row.UNSUPPORTED_RETURN_ADDRESS);
        kind = row.RULE_RA_REGISTER;
        aux = state[RA + FROM];
        break;
      default:
        return this.#unsupported(row.UNSUPPORTED_RETURN_ADDRESS);
    }
    if (!Number.isInteger(raOffset) || raOffset < -127 || raOffset > 127)
      return this.#unsupported(row.UNSUPPORTED_RANGE);

    let rbpOffset = this.#savedAt(RBP, fromBase);
    if (Number.isNaN(rbpOffset)) rbpOffset = row.RBP_LOST;
    else if (rbpOffset !== UNCHANGED) {
      rbpOffset =
        rbpOffset % 2 === 0 && rbpOffset > -0x8000 && rbpOffset < 0x8000 ? rbpOffset | row.RBP_SAVED : row.RBP_LOST;
    } else rbpOffset = 0;

    return this.#rules.intern(
      cfaOffset,
      row.packHead(kind, base, rbpOffset),
      this.#savedWord(0, fromBase) |
        (this.#savedWord(1, fromBase) << 8) |
        (this.#savedWord(2, fromBase) << 16) |
        (this.#savedWord(3, fromBase) << 24),
      this.#savedWord(4, fromBase) | ((raOffset & 0xff) << 8) | (aux << 16),
    );
  }

  #savesFromBase(base: number): boolean {
    const state = this.#state;
    for (let slot = FIRST_REGISTER; slot < STATE_SIZE; slot += 3) {
      if (slot !== RA && state[slot + HOW] === EXPRESSION && state[slot + FROM] === base) return true;
    }
    return false;
  }

  /** Where a register is saved, in bytes from the CFA (or its base register); UNCHANGED; NaN if that cannot be told. */
  #savedAt(slot: number, fromBase: boolean): number {
    const state = this.#state;
    const value = state[slot + VALUE];
    switch (state[slot + HOW]) {
      case UNSPECIFIED:
      case SAME_VALUE:
        return UNCHANGED;
      case OFFSET:
        return fromBase ? Number.NaN : value;
      case EXPRESSION:
        if (state[slot + FROM] !== state[CFA_BASE]) return Number.NaN;
        if (fromBase) return value;
        return state[CFA_KIND] === CFA_REGISTER ? value - state[CFA_OFFSET] : Number.NaN;
      default:
        return Number.NaN;
    }
  }

  /** Byte `index` of `saved`. */
  #savedWord(index: number, fromBase: boolean): number {
    const offset = this.#savedAt(FIRST_REGISTER + 3 * index, fromBase);
    if (offset === UNCHANGED) return 0;
    const word = offset / 8;
    return Number.isInteger(word) && word !== 0 && word > row.SAVED_LOST && word < 128
      ? word & 0xff
      : row.SAVED_LOST & 0xff;
  }

  /** `rt_sigreturn` trampolines describe each register as a slot of the ucontext at rsp + n. */
  #signalRule(): number {
    const state = this.#state;
    const offset = state[CFA_OFFSET] - GREGS_RSP;
    const isUcontext =
      state[CFA_KIND] === CFA_DEREF &&
      state[CFA_BASE] === row.REG_RSP &&
      state[CFA_ADDEND] === 0 &&
      state[CFA_INDEX] === 0 &&
      state[RA + HOW] === EXPRESSION &&
      state[RA + FROM] === row.REG_RSP &&
      state[RA + VALUE] === state[CFA_OFFSET] + 8 &&
      Math.abs(offset) < 0x8000_0000;
    if (!isUcontext) return this.#unsupported(row.UNSUPPORTED_SIGNAL_FRAME);
    return this.#rules.intern(offset, row.packHead(row.RULE_SIGNAL, row.REG_RSP, 0), 0, 0);
  }
}

const UNCHANGED = Number.POSITIVE_INFINITY;
