// SPDX-License-Identifier: Apache-2.0
/**
 * The row of a call frame table that is in force at one address: how to find the CFA and each register of the caller.
 * Source: DWARF 5, section 6.4.1 and 6.4.2; GNU extensions as in libgcc's unwind-dw2.c.
 */
import { Cursor } from '../unwind-table/cursor.ts';
import { readPointer } from '../unwind-table/pointer-encoding.ts';
import type { FrameDescription } from './frame-description.ts';

export type RegisterRule =
  | { readonly kind: 'undefined' | 'same' }
  /** Saved at CFA + offset; is CFA + offset. */
  | { readonly kind: 'offset' | 'valueOffset'; readonly offset: bigint }
  | { readonly kind: 'register'; readonly register: number }
  /** Saved where the expression says; is what it says. */
  | { readonly kind: 'expression' | 'valueExpression'; readonly bytes: Uint8Array };

export type CfaRule =
  | { readonly kind: 'register'; readonly register: number; readonly offset: bigint }
  | { readonly kind: 'expression'; readonly bytes: Uint8Array };

/** Registers that rules may be about: the sixteen general ones and the return address. */
export const COLUMNS = 17;
export const RETURN_ADDRESS = 16;

export interface Row {
  readonly cfa: CfaRule | undefined;
  /** By register number; undefined: no rule. */
  readonly registers: readonly (RegisterRule | undefined)[];
}

const MAX_REMEMBERED = 64;
const UNDEFINED: RegisterRule = { kind: 'undefined' };
const SAME: RegisterRule = { kind: 'same' };

interface State {
  cfa: CfaRule | undefined;
  registers: (RegisterRule | undefined)[];
}

const copy = ({ cfa, registers }: State): State => ({ cfa, registers: registers.slice() });

/** The row at a file address inside the function; undefined where the program up to there is malformed. */
export function rowAt(description: FrameDescription, address: number): Row | undefined {
  const program = new CallFrameProgram(description, address);
  const state: State = { cfa: undefined, registers: new Array(COLUMNS).fill(undefined) };
  if (!program.run(state, description.cie.instructions, undefined)) return undefined;
  const initial = copy(state);
  if (!program.run(state, description.instructions, initial)) return undefined;
  return state;
}

class CallFrameProgram {
  readonly #description: FrameDescription;
  readonly #address: number;

  constructor(description: FrameDescription, address: number) {
    this.#description = description;
    this.#address = address;
  }

  /**
   * Executes instructions on the state until one would go beyond the address. False where they are malformed.
   * `initial`: what `restore` goes back to; undefined while the instructions are those of the CIE.
   */
  run(state: State, bytes: Uint8Array, initial: State | undefined): boolean {
    const { cie, start, bases } = this.#description;
    const cursor = new Cursor(bytes);
    const remembered: State[] = [];
    let location = start;
    const set = (register: number, rule: RegisterRule | undefined) => {
      if (register < COLUMNS) state.registers[register] = rule;
    };
    const restore = (register: number) => set(register, initial?.registers[register]);
    const factored = (value: number) => BigInt(value * cie.dataAlign);
    const block = () => {
      const length = cursor.uleb();
      const from = cursor.at;
      cursor.skip(length);
      return bytes.slice(from, Math.min(cursor.at, cursor.end)); // rows are kept, the window behind `bytes` is not
    };
    while (cursor.at < cursor.end) {
      const byte = cursor.u8();
      const low = byte & 0x3f;
      let next = location;
      switch (byte < 0x40 ? byte : byte & 0xc0) {
        case 0x40: // advance_loc
          next += low * cie.codeAlign;
          break;
        case 0x80:
          set(low, { kind: 'offset', offset: factored(cursor.uleb()) });
          break;
        case 0xc0:
          restore(low);
          break;
        case 0x00: // nop
          break;
        case 0x01: {
          // set_loc: an address, encoded as those of the FDE
          next = readPointer(cursor, cie.encoding, bases);
          if (!(next >= location)) return false;
          break;
        }
        case 0x02:
          next += cursor.u8() * cie.codeAlign;
          break;
        case 0x03:
          next += cursor.u16() * cie.codeAlign;
          break;
        case 0x04:
          next += cursor.u32() * cie.codeAlign;
          break;
        case 0x1d: // MIPS_advance_loc8
          next += cursor.u64() * cie.codeAlign;
          break;
        case 0x05: // offset_extended
          set(cursor.uleb(), { kind: 'offset', offset: factored(cursor.uleb()) });
          break;
        case 0x11: // offset_extended_sf
          set(cursor.uleb(), { kind: 'offset', offset: factored(cursor.sleb()) });
          break;
        case 0x2f: // GNU_negative_offset_extended
          set(cursor.uleb(), { kind: 'offset', offset: factored(-cursor.uleb()) });
          break;
        case 0x14: // val_offset
          set(cursor.uleb(), { kind: 'valueOffset', offset: factored(cursor.uleb()) });
          break;
        case 0x15: // val_offset_sf
          set(cursor.uleb(), { kind: 'valueOffset', offset: factored(cursor.sleb()) });
          break;
        case 0x06: // restore_extended
          restore(cursor.uleb());
          break;
        case 0x07:
          set(cursor.uleb(), UNDEFINED);
          break;
        case 0x08:
          set(cursor.uleb(), SAME);
          break;
        case 0x09:
          set(cursor.uleb(), { kind: 'register', register: cursor.uleb() });
          break;
        case 0x10:
          set(cursor.uleb(), { kind: 'expression', bytes: block() });
          break;
        case 0x16:
          set(cursor.uleb(), { kind: 'valueExpression', bytes: block() });
          break;
        case 0x0a: // remember_state
          if (remembered.length === MAX_REMEMBERED) return false;
          remembered.push(copy(state));
          break;
        case 0x0b: {
          const before = remembered.pop();
          if (!before) return false;
          state.cfa = before.cfa;
          state.registers = before.registers;
          break;
        }
        case 0x0c: // def_cfa
          state.cfa = { kind: 'register', register: cursor.uleb(), offset: BigInt(cursor.uleb()) };
          break;
        case 0x12: // def_cfa_sf
          state.cfa = { kind: 'register', register: cursor.uleb(), offset: factored(cursor.sleb()) };
          break;
        case 0x0d: // def_cfa_register
          state.cfa = { kind: 'register', register: cursor.uleb(), offset: offsetOf(state.cfa) };
          break;
        case 0x0e: // def_cfa_offset
        case 0x13: {
          // def_cfa_offset_sf
          const offset = byte === 0x0e ? BigInt(cursor.uleb()) : factored(cursor.sleb());
          if (state.cfa?.kind !== 'register') return false;
          state.cfa = { ...state.cfa, offset };
          break;
        }
        case 0x0f:
          state.cfa = { kind: 'expression', bytes: block() };
          break;
        case 0x2e: // GNU_args_size: bytes of arguments pushed, of no use here
          cursor.uleb();
          break;
        default:
          return false;
      }
      if (cursor.overrun || Number.isNaN(next)) return false;
      if (next > location) {
        if (!initial) return false; // a CIE covers no addresses
        if (next > this.#address) return true;
        location = next;
      }
    }
    return true;
  }
}

function offsetOf(cfa: CfaRule | undefined): bigint {
  return cfa?.kind === 'register' ? cfa.offset : 0n;
}
