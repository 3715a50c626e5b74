// SPDX-License-Identifier: Apache-2.0

/**
 * Unwind rules for code without unwind information: the instructions of a function are followed from its entry, along
 * every branch, and the depth of the stack at each is worked out. Where ways that lead to an instruction disagree, where
 * a return is met at a wrong depth, or where nothing leads, there is no rule: what is given is proved, under the
 * conventions of the System V ABI (callees return with rsp and the callee-saved registers as they were).
 */
import type { RuleSink } from './cfa-program.ts';
import type { RuleSet } from './row.ts';
import { StackStates, UNKNOWN } from './stack-state.ts';
import { Instruction } from './x86-instruction.ts';
import * as x86 from './x86-opcodes.ts';

/** Instructions followed in one unit of code, and in all, counting those that are followed again. */
const MAX_STEPS = 1 << 21;
const MAX_STEPS_IN_ALL = 1 << 26;
/** How often a unit is started over because a call turned out not to return. */
const MAX_RESTARTS = 32;
const MAX_INSTRUCTION = 15;

export interface CodeAnalysisResult {
  /** Bytes for which rules were given. */
  provedBytes: number;
  /** A return at another depth than the entry's: nothing is proved. */
  isBroken: boolean;
  /**
   * Offset behind the unit to which a branch leads out of the middle of a frame, the nearest: what was taken for the
   * end of the function may not be it; 0: there is none.
   */
  escape: number;
  /** Offsets outside of the unit to which it jumps at the depth of its entry: functions, most likely. */
  tailCalls: readonly number[];
}

/** What is known of a unit of code besides its bytes. */
export interface UnitOfCode {
  /** Offsets at which functions begin. */
  entries: readonly number[];
  /** After a call the depth is unknown, for callees may pop their arguments (V8 builtins). */
  calleesPop?: boolean;
  /** It is entry code: nothing has called it. */
  isEntryCode?: boolean;
}

export class CodeAnalysis {
  readonly #rules: RuleSet;
  readonly #states = new StackStates();
  readonly #instruction = new Instruction();
  // Per byte of the unit: the state before the instruction that begins there (0: none), its length, the last call on the
  // way by which it was first reached (offset + 1; 0: none), and whether it is a call that does not return.
  #stateAt = new Int32Array(0);
  #lengthAt = new Uint8Array(0);
  #callOf = new Int32Array(0);
  #isNoReturn = new Uint8Array(0);
  // Instructions to be followed: those reached by jumps and in line first, those behind calls last, for a call may not
  // return: what the other ways say about an instruction is known then.
  #work: number[] = [];
  #afterCalls: number[] = [];
  // The unit at hand.
  #bytes: Uint8Array = new Uint8Array(0);
  #size = 0;
  #steps = 0;
  #stepsInAll = 0;
  #switchState = 0; // of indirect jumps from within a frame
  #leafSwitchState = 0; // of indirect jumps at the depth of the entry: tail calls, unless there are tables
  #hasTable = false;
  #isBroken = false;
  #escape = 0;
  #tailCalls: number[] = [];
  #restart = false;

  constructor(rules: RuleSet) {
    this.#rules = rules;
  }

  /**
   * Analyses the code in `bytes`, which lies at `address`. Proved stretches go to the sink, others to `gap`, in order;
   * padding to neither.
   */
  analyze(
    bytes: Uint8Array,
    address: number,
    unit: UnitOfCode,
    sink: RuleSink,
    gap: (from: number, to: number) => void,
  ): CodeAnalysisResult {
    this.#bytes = bytes;
    this.#size = bytes.length;
    this.#steps = 0;
    if (this.#stateAt.length < bytes.length) {
      const capacity = 2 ** Math.ceil(Math.log2(Math.max(1024, bytes.length)));
      this.#stateAt = new Int32Array(capacity);
      this.#lengthAt = new Uint8Array(capacity);
      this.#callOf = new Int32Array(capacity);
      this.#isNoReturn = new Uint8Array(capacity);
    }
    this.#isNoReturn.fill(0, 0, bytes.length);
    this.#states.calleesPop = unit.calleesPop === true;
    for (let restarts = 0; restarts < MAX_RESTARTS; restarts++) {
      this.#start(unit);
      this.#followIndirectJumps();
      if (!this.#restart) break;
    }
    const isBroken = this.#isBroken || this.#restart;
    if (isBroken) {
      gap(address, address + bytes.length);
      return { provedBytes: 0, isBroken, escape: this.#escape, tailCalls: this.#tailCalls };
    }
    return { provedBytes: this.#emit(address, sink, gap), isBroken, escape: this.#escape, tailCalls: this.#tailCalls };
  }

  #start(unit: UnitOfCode): void {
    this.#stateAt.fill(0, 0, this.#size);
    this.#work = [];
    this.#afterCalls = [];
    this.#switchState = 0;
    this.#leafSwitchState = 0;
    this.#hasTable = false;
    this.#isBroken = false;
    this.#escape = 0;
    this.#tailCalls = [];
    this.#restart = false;
    this.#states.clear();
    const entry = this.#states.entry(unit.isEntryCode === true);
    for (const offset of unit.entries) {
      this.#reach(offset, entry, 0);
      this.#follow();
    }
  }

  /**
   * Blocks that nothing reached are the targets of indirect jumps, if there are any (switch statements): they have the
   * depth of the jump.
   */
  #followIndirectJumps(): void {
    const state = this.#switchState !== 0 ? this.#switchState : this.#hasTable ? this.#leafSwitchState : 0;
    if (state === 0) return;
    for (let at = 0; at < this.#size && !this.#restart; ) {
      if (this.#stateAt[at] !== 0) {
        at += this.#lengthAt[at] || 1;
        continue;
      }
      if (!this.#instruction.decode(this.#bytes, at, this.#size)) return; // data
      if (this.#instruction.isPadding) {
        at += this.#instruction.length;
        continue;
      }
      this.#reach(at, state, 0);
      this.#follow();
    }
  }

  #follow(): void {
    const instruction = this.#instruction;
    while (!this.#restart) {
      const at = this.#work.pop() ?? this.#nextAfterCall();
      if (at < 0) return;
      if (++this.#steps > MAX_STEPS || ++this.#stepsInAll > MAX_STEPS_IN_ALL || this.#states.isFull) {
        this.#isBroken = true;
        return;
      }
      const state = this.#stateAt[at];
      if (!instruction.decode(this.#bytes, at, this.#size)) {
        this.#lengthAt[at] = 1;
        if (at + MAX_INSTRUCTION > this.#size) this.#reach(this.#size, state, 0); // cut by the end of the unit
        continue;
      }
      const { op, target, length } = instruction;
      this.#lengthAt[at] = length;
      if (instruction.isTableLoad) this.#hasTable = true;
      const after = this.#states.step(state, instruction);
      const call = this.#callOf[at];
      switch (op) {
        case x86.OP_RET: {
          const rsp = this.#states.rsp(state);
          if (rsp !== -8 && rsp !== UNKNOWN && !this.#states.calleesPop) this.#isBroken = true;
          break;
        }
        case x86.OP_STOP:
          break;
        case x86.OP_JUMP:
          if (!Number.isNaN(target)) this.#reach(target, after, call);
          else if (!instruction.isRipRelative) this.#indirectJump(after);
          break;
        case x86.OP_BRANCH:
          this.#reach(target, after, call);
          this.#reach(at + length, after, call);
          break;
        case x86.OP_CALL:
          if (target > 0 && target < this.#size && target !== at + length)
            this.#reach(target, this.#states.entry(false), 0);
          // At the end of the unit, a call does not return.
          if (this.#isNoReturn[at] === 0 && at + length < this.#size) this.#afterCalls.push(at, at + length, after);
          break;
        default:
          if (instruction.isPadding && at + length >= this.#size) break;
          this.#reach(at + length, after, call);
      }
    }
  }

  /** The next instruction behind a call that has news; -1: there are none. */
  #nextAfterCall(): number {
    while (this.#afterCalls.length > 0) {
      const state = this.#afterCalls.pop()!;
      const at = this.#afterCalls.pop()!;
      this.#reach(at, state, this.#afterCalls.pop()! + 1);
      const next = this.#work.pop();
      if (next !== undefined) return next;
    }
    return -1;
  }

  #indirectJump(state: number): void {
    if (this.#states.rsp(state) === -8) this.#leafSwitchState = state;
    else this.#switchState = this.#switchState === 0 ? state : this.#states.merge(this.#switchState, state);
  }

  /** Control comes to offset `at` in `state`; `call` is the last call on the way (offset + 1), if any. */
  #reach(at: number, state: number, call: number): void {
    if (at < 0 || at >= this.#size) {
      const rsp = this.#states.rsp(state);
      if (rsp === -8) this.#tailCalls.push(at);
      if (at < 0) return;
      if (rsp < -8 && rsp !== UNKNOWN && (this.#escape === 0 || at < this.#escape)) this.#escape = at;
      return;
    }
    const known = this.#stateAt[at];
    if (known === state) return;
    if (known === 0) {
      this.#stateAt[at] = state;
      this.#callOf[at] = call;
      this.#work.push(at);
      return;
    }
    const states = this.#states;
    const rsp = states.rsp(state);
    const knownRsp = states.rsp(known);
    if (rsp !== knownRsp && rsp !== UNKNOWN && knownRsp !== UNKNOWN) {
      // Two depths: one of the ways does not exist, for it leads through a call that does not return.
      const wrong = this.#wrongCall(at, rsp, knownRsp, call);
      if (wrong !== 0) {
        this.#isNoReturn[wrong - 1] = 1;
        this.#restart = true;
        return;
      }
    }
    const merged = states.merge(known, state);
    if (merged === known) return;
    this.#stateAt[at] = merged;
    this.#work.push(at);
  }

  /**
   * The call (offset + 1) that does not return, of two ways to `at` with different depths; 0: it cannot be told. It is
   * the call right before `at`; else that on the way whose depth is not the usual one of the unit.
   */
  #wrongCall(at: number, rsp: number, knownRsp: number, call: number): number {
    const knownCall = this.#callOf[at];
    if (call !== 0 && this.#isBehindCall(at, call - 1)) return call;
    if (knownCall !== 0 && this.#isBehindCall(at, knownCall - 1)) return knownCall;
    let balance = 0;
    for (let i = 0; i < this.#size; i++) {
      if (this.#stateAt[i] === 0) continue;
      const other = this.#states.rsp(this.#stateAt[i]);
      if (other === rsp) balance++;
      else if (other === knownRsp) balance--;
    }
    return balance > 0 ? knownCall : call;
  }

  /** Whether nothing but padding lies between a call and `at`. */
  #isBehindCall(at: number, call: number): boolean {
    const from = call + this.#lengthAt[call];
    if (from > at || at - from > 64) return false;
    for (let i = from; i < at; i += this.#instruction.length) {
      if (!this.#instruction.decode(this.#bytes, i, at) || !this.#instruction.isPadding) return false;
    }
    return true;
  }

  /** Address in a register before the instruction at an offset, relative to the CFA; NaN if it is not known. */
  registerAt(offset: number, register: number): number {
    const state = this.#stateAt[offset];
    const value = state === 0 ? UNKNOWN : this.#states.register(state, register);
    return value === UNKNOWN ? Number.NaN : value;
  }

  #emit(address: number, sink: RuleSink, gap: (from: number, to: number) => void): number {
    let proved = 0;
    for (let at = 0; at < this.#size; ) {
      const start = at;
      const rule = this.#ruleAt(at);
      while (at < this.#size && this.#ruleAt(at) === rule) at += this.#stateAt[at] === 0 ? 1 : this.#lengthAt[at];
      at = Math.min(at, this.#size);
      if (rule >= 0) {
        sink.add(address + start, address + at, rule);
        proved += at - start;
      } else if (!this.#isPadding(start, at)) {
        gap(address + start, address + at);
      }
    }
    return proved;
  }

  #ruleAt(at: number): number {
    const state = this.#stateAt[at];
    return state === 0 ? -1 : this.#states.rule(state, this.#rules);
  }

  /** Whether there is nothing between two offsets but what fills the space between functions. */
  #isPadding(from: number, to: number): boolean {
    for (let at = from; at < to; ) {
      if (this.#bytes[at] === 0) at++;
      else if (
        this.#stateAt[at] === 0 &&
        this.#instruction.decode(this.#bytes, at, to) &&
        this.#instruction.isPadding
      ) {
        at += this.#instruction.length;
      } else return false;
    }
    return true;
  }
}
