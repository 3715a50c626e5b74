// SPDX-License-Identifier: Apache-2.0

/**
 * What is known about the stack at an instruction: which registers hold an address in the frame, and where the caller's
 * callee-saved registers are. All addresses are relative to the CFA, the value of rsp before the call; at the entry of a
 * function rsp is CFA - 8.
 */
import {
  packHead,
  RBP_LOST,
  RBP_SAVED,
  REG_COUNT,
  REG_R12,
  REG_R15,
  REG_RBP,
  REG_RBX,
  REG_RSP,
  RULE_CFA,
  RULE_ENTRY,
  RULE_RA_REGISTER,
  type RuleSet,
  SAVED_LOST,
} from './row.ts';
import type { Instruction } from './x86-instruction.ts';
import * as x86 from './x86-opcodes.ts';

/** A register that holds no known address of the frame. */
export const UNKNOWN = -0x8000_0000;
/** Where the caller's value of a callee-saved register is: still in it; nowhere; else an offset from the CFA. */
const UNCHANGED = 0;
const LOST = 1;

// Layout of a state: the values of the 16 registers, then these.
const SAVED = REG_COUNT; // of rbx, rbp, r12 to r15
const FLAGS = SAVED + 6;
const RETURN_REGISTER = FLAGS + 1; // the register into which the return address was popped, plus one
export const STATE_SIZE = RETURN_REGISTER + 1;

const FLAG_ENTRY = 1; // entry code: rbp was cleared to mark the outermost frame

/** Index in SAVED of each callee-saved register; -1 for the others. */
const SAVED_INDEX = new Int8Array(REG_COUNT).fill(-1);
SAVED_INDEX[REG_RBX] = 0;
SAVED_INDEX[REG_RBP] = 1;
for (let register = REG_R12; register <= REG_R15; register++) SAVED_INDEX[register] = register - REG_R12 + 2;

/** More states than this are no function. */
const MAX_STATES = 1 << 16;
const CALLER_SAVED = [0, 1, 2, 4, 5, 8, 9, 10, 11];
/** In this order registers are taken as a rule's base, if rsp is not known. */
const BASES = [REG_RBP, REG_RBX, 12, 13, 14, 15, 10, 11, 0, 1, 2, 4, 5, 8, 9];

/** States under numbers; equal states have equal numbers. Number 0 is "not reached". */
export class StackStates {
  /** The state that the methods work on. */
  readonly current = new Int32Array(STATE_SIZE);
  /** After a call rsp is not known, for callees may pop their arguments, and callee-saved registers are lost. */
  calleesPop = false;
  #pool = new Int32Array(STATE_SIZE * 64);
  #rules = new Int32Array(64);
  #count = 1;
  #slots = new Int32Array(256);

  /** Forgets all states. */
  clear(): void {
    this.#count = 1;
    this.#slots.fill(0);
  }

  get isFull(): boolean {
    return this.#count > MAX_STATES;
  }

  load(state: number): void {
    const at = state * STATE_SIZE;
    for (let i = 0; i < STATE_SIZE; i++) this.current[i] = this.#pool[at + i];
  }

  /** The number of the state `current`. */
  intern(): number {
    const { current } = this;
    let hash = 0;
    for (let i = 0; i < STATE_SIZE; i++) hash = Math.imul(hash ^ current[i], 0x9e3779b1) ^ (hash >>> 13);
    const mask = this.#slots.length - 1;
    let slot = (hash ^ (hash >>> 16)) & mask;
    for (; this.#slots[slot] !== 0; slot = (slot + 1) & mask) {
      if (this.#equals(this.#slots[slot])) return this.#slots[slot];
    }
    const state = this.#count++;
    if (this.#count * STATE_SIZE > this.#pool.length) {
      this.#pool = grown(this.#pool);
      this.#rules = grown(this.#rules);
    }
    this.#pool.set(current, state * STATE_SIZE);
    this.#rules[state] = UNKNOWN;
    this.#slots[slot] = state;
    if (this.#count * 2 > this.#slots.length) this.#rehash();
    return state;
  }

  #equals(state: number): boolean {
    const at = state * STATE_SIZE;
    for (let i = 0; i < STATE_SIZE; i++) if (this.#pool[at + i] !== this.current[i]) return false;
    return true;
  }

  #rehash(): void {
    this.#slots = new Int32Array(this.#slots.length * 2);
    const count = this.#count;
    this.#count = 1;
    const saved = this.current.slice();
    const rules = this.#rules.slice(0, count);
    for (let state = 1; state < count; state++) {
      this.load(state);
      this.intern(); // gets the same number: states are interned in their old order
      this.#rules[state] = rules[state];
    }
    this.current.set(saved);
  }

  /** The state at the entry of a function; `isEntryCode`: one that nothing calls. */
  entry(isEntryCode: boolean): number {
    const { current } = this;
    current.fill(UNKNOWN, 0, REG_COUNT);
    current.fill(UNCHANGED, SAVED);
    current[REG_RSP] = -8;
    if (isEntryCode) current[FLAGS] = FLAG_ENTRY;
    return this.intern();
  }

  rsp(state: number): number {
    return this.#pool[state * STATE_SIZE + REG_RSP];
  }

  register(state: number, register: number): number {
    return this.#pool[state * STATE_SIZE + register];
  }

  /** What both states have in common. */
  merge(a: number, b: number): number {
    this.load(a);
    const { current } = this;
    const at = b * STATE_SIZE;
    for (let i = 0; i < REG_COUNT; i++) if (current[i] !== this.#pool[at + i]) current[i] = UNKNOWN;
    for (let i = SAVED; i < FLAGS; i++) if (current[i] !== this.#pool[at + i]) current[i] = LOST;
    current[FLAGS] &= this.#pool[at + FLAGS];
    if (current[RETURN_REGISTER] !== this.#pool[at + RETURN_REGISTER]) current[RETURN_REGISTER] = 0;
    return this.intern();
  }

  /** The state behind an instruction that is executed in `state` and goes on to the next. */
  step(state: number, instruction: Instruction): number {
    const { op, reg } = instruction;
    const { current } = this;
    if (op === x86.OP_OTHER || op === x86.OP_BRANCH || op === x86.OP_SYSCALL) {
      if (instruction.writes === 0 || !this.#matters(state, instruction.writes)) return state;
      this.load(state);
      this.#overwrite(instruction.writes);
      return this.intern();
    }
    this.load(state);
    const rsp = current[REG_RSP];
    switch (op) {
      case x86.OP_PUSH:
        this.#push(reg);
        break;
      case x86.OP_POP:
        this.#pop(reg);
        break;
      case x86.OP_ADD_RSP:
        this.#setRsp(rsp === UNKNOWN ? UNKNOWN : rsp + instruction.immediate);
        break;
      case x86.OP_LEA: {
        if (instruction.base === reg && instruction.displacement === 0) break;
        const base = instruction.base < 0 ? UNKNOWN : current[instruction.base];
        this.#assign(reg, base === UNKNOWN ? UNKNOWN : base + instruction.displacement);
        break;
      }
      case x86.OP_MOVE:
        if (reg !== instruction.source) this.#assign(reg, current[instruction.source]);
        break;
      case x86.OP_ZERO:
        if (reg === REG_RBP && current[SAVED + 1] === UNCHANGED) current[FLAGS] |= FLAG_ENTRY;
        this.#overwrite(1 << reg);
        break;
      case x86.OP_LOAD: {
        const index = SAVED_INDEX[reg];
        const at = this.#address(instruction);
        if (index >= 0 && at !== UNKNOWN && at === current[SAVED + index]) {
          current[SAVED + index] = UNCHANGED;
          current[reg] = UNKNOWN;
        } else {
          this.#overwrite(1 << reg);
        }
        break;
      }
      case x86.OP_STORE: {
        const index = SAVED_INDEX[reg];
        const at = this.#address(instruction);
        if (
          index >= 0 &&
          at !== UNKNOWN &&
          at < -8 &&
          current[SAVED + index] === UNCHANGED &&
          current[reg] === UNKNOWN
        ) {
          current[SAVED + index] = at;
        }
        break;
      }
      case x86.OP_LEAVE: {
        const rbp = current[REG_RBP];
        current[REG_RSP] = rbp;
        this.#pop(REG_RBP);
        break;
      }
      case x86.OP_ENTER:
        this.#push(REG_RBP);
        current[REG_RBP] = current[REG_RSP];
        if (rsp !== UNKNOWN) this.#setRsp(current[REG_RSP] - instruction.immediate);
        break;
      case x86.OP_CALL:
        for (const register of CALLER_SAVED) current[register] = UNKNOWN;
        if (this.calleesPop) {
          // Such callees keep rbp and nothing else.
          current[REG_RSP] = UNKNOWN;
          for (let i = SAVED; i < FLAGS; i++) if (i !== SAVED + 1 && current[i] === UNCHANGED) current[i] = LOST;
        }
        break;
    }
    return this.intern();
  }

  /** Whether overwriting these registers changes what is known. */
  #matters(state: number, writes: number): boolean {
    const at = state * STATE_SIZE;
    for (let register = 0; register < REG_COUNT; register++) {
      if ((writes & (1 << register)) === 0) continue;
      if (this.#pool[at + register] !== UNKNOWN) return true;
      const index = SAVED_INDEX[register];
      if (index >= 0 && this.#pool[at + SAVED + index] === UNCHANGED) return true;
      if (this.#pool[at + RETURN_REGISTER] === register + 1) return true;
    }
    return false;
  }

  #address(instruction: Instruction): number {
    const base = instruction.base < 0 ? UNKNOWN : this.current[instruction.base];
    return base === UNKNOWN ? UNKNOWN : base + instruction.displacement;
  }

  #overwrite(writes: number): void {
    for (let register = 0; register < REG_COUNT; register++) {
      if ((writes & (1 << register)) !== 0) this.#assign(register, UNKNOWN);
    }
  }

  #assign(register: number, value: number): void {
    const { current } = this;
    if (register === REG_RSP) {
      this.#setRsp(value);
      return;
    }
    current[register] = value;
    if (current[RETURN_REGISTER] === register + 1) current[RETURN_REGISTER] = 0;
    const index = SAVED_INDEX[register];
    if (index >= 0 && current[SAVED + index] === UNCHANGED) current[SAVED + index] = LOST;
  }

  /** Moves rsp; what was saved below it is gone. */
  #setRsp(value: number): void {
    const { current } = this;
    const old = current[REG_RSP];
    current[REG_RSP] = value;
    if (value === UNKNOWN || (old !== UNKNOWN && value <= old)) return;
    for (let i = SAVED; i < FLAGS; i++) if (current[i] < 0 && current[i] < value) current[i] = LOST;
  }

  #push(register: number): void {
    const { current } = this;
    if (register >= 0 && current[RETURN_REGISTER] === register + 1) {
      // The return address is back on the stack, possibly of another depth: a new frame.
      if (current[REG_RSP] !== 0) {
        current.fill(UNKNOWN, 0, REG_COUNT);
        for (let i = SAVED; i < FLAGS; i++) if (current[i] !== UNCHANGED) current[i] = LOST;
      }
      current[REG_RSP] = -8;
      current[RETURN_REGISTER] = 0;
      return;
    }
    if (current[REG_RSP] === UNKNOWN) return;
    const at = current[REG_RSP] - 8;
    current[REG_RSP] = at;
    const index = register < 0 ? -1 : SAVED_INDEX[register];
    if (index >= 0 && current[SAVED + index] === UNCHANGED && current[register] === UNKNOWN)
      current[SAVED + index] = at;
  }

  #pop(register: number): void {
    const { current } = this;
    const rsp = current[REG_RSP];
    const index = register < 0 ? -1 : SAVED_INDEX[register];
    if (rsp === UNKNOWN) {
      if (register >= 0) this.#overwrite(1 << register);
      return;
    }
    if (index >= 0 && current[SAVED + index] === rsp) {
      current[SAVED + index] = UNCHANGED;
      current[register] = UNKNOWN;
    } else if (register >= 0) {
      this.#overwrite(1 << register);
    }
    if (register === REG_RSP) return;
    this.#setRsp(rsp + 8);
    if (rsp === -8 && register >= 0) current[RETURN_REGISTER] = register + 1;
  }

  /** The number of the rule for an instruction in this state; -1 if the CFA cannot be told. */
  rule(state: number, rules: RuleSet): number {
    if (this.#rules[state] !== UNKNOWN) return this.#rules[state];
    this.load(state);
    const rule = this.#rule(rules);
    this.#rules[state] = rule;
    return rule;
  }

  #rule(rules: RuleSet): number {
    const { current } = this;
    if ((current[FLAGS] & FLAG_ENTRY) !== 0) return rules.intern(0, packHead(RULE_ENTRY, 0, 0), 0, 0);
    let kind = RULE_CFA;
    let base = REG_RSP;
    let aux = 0;
    let raOffset = -1;
    const rsp = current[REG_RSP];
    if (current[RETURN_REGISTER] !== 0) {
      if (rsp !== 0 && !this.calleesPop) return -1;
      kind = RULE_RA_REGISTER;
      aux = current[RETURN_REGISTER] - 1;
      raOffset = 0;
    } else if (this.calleesPop && current[REG_RBP] !== UNKNOWN) {
      base = REG_RBP; // how much its callees have popped is not to matter
    } else if (rsp === UNKNOWN || rsp > -8) {
      if (rsp !== UNKNOWN) return -1; // the return address is gone
      base = BASES.find((register) => current[register] !== UNKNOWN) ?? -1;
      if (base < 0) return -1;
    }
    const cfaOffset = current[base] === UNKNOWN ? 0 : -current[base];
    const rbp = current[SAVED + 1];
    let rbpOffset = 0;
    if (rbp === LOST || rbp < -0x7ffe) rbpOffset = RBP_LOST;
    else if (rbp !== UNCHANGED) rbpOffset = rbp | RBP_SAVED;
    const word = (index: number) => {
      const at = current[SAVED + index];
      if (at === UNCHANGED) return 0;
      return at === LOST || at % 8 !== 0 || at / 8 <= SAVED_LOST ? SAVED_LOST & 0xff : (at / 8) & 0xff;
    };
    return rules.intern(
      cfaOffset,
      packHead(kind, base, rbpOffset),
      word(0) | (word(2) << 8) | (word(3) << 16) | (word(4) << 24),
      word(5) | ((raOffset & 0xff) << 8) | (aux << 16),
    );
  }
}

function grown(from: Int32Array): Int32Array<ArrayBuffer> {
  const to = new Int32Array(from.length * 2);
  to.set(from);
  return to;
}
