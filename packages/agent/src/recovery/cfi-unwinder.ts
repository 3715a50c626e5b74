// SPDX-License-Identifier: Apache-2.0
/**
 * Walks a stack from registers and a copy of its memory: with the full call frame information of the files, DWARF
 * expressions included, and what the kernel side knows besides. A walk is whole only if it ends at a verified root, by the
 * same criteria as in the kernel. Sources: System V ABI, AMD64 supplement, 3.2 and 3.7; DWARF 5, 6.4.4.
 */
import * as abi from '../unwind-table/row.ts';
import { RETURN_ADDRESS, type RegisterRule, type Row } from './call-frame-row.ts';
import { type ExpressionContext, evaluateExpression } from './dwarf-expression.ts';
import type { StackCopy } from './stack-copy.ts';
import type { FrameKnowledge } from './unwind-file.ts';

/** An executable: see UnwindFile. Addresses are those of the file. */
export interface CodeFile {
  at(address: number): FrameKnowledge;
  bytesAt(address: number, length: number): Uint8Array;
}

/** Executable memory of the process. */
export interface Code {
  readonly start: number;
  /** Exclusive. */
  readonly end: number;
  /** Undefined: memory without a file, or a file that cannot be read. */
  readonly file: CodeFile | undefined;
  /** Runtime address less file address. */
  readonly bias: number;
}

/** The executable memory that holds an address. */
export type FindCode = (address: number) => Code | undefined;

/**
 * A frame: DWARF-numbered registers, of which some are not known. One without a rule is taken to be as it was in the frame
 * below, as libgcc does: a CFA that depends, at a call, on a register that callees need not keep (OpenSSL's AES-GCM: rax)
 * is that of assembly whose callees are known to keep it.
 */
export interface FrameRegisters {
  readonly pc: number;
  /** `pc` was interrupted; else it is a return address. */
  readonly exact: boolean;
  readonly registers: readonly (bigint | undefined)[];
  /** The code at `pc`, where it is known without a file. */
  readonly code?: Uint8Array;
}

/**
 * How a walk ended. The first two are roots.
 * - `stack_end`: what is needed lies outside of the copy
 * - `no_mapping`: code that is in no mapping known
 * - `no_unwind_info`: nothing is known of the code, and its frame pointer is not usable
 * - `register_unknown`: a rule needs a register whose value is lost
 * - `malformed`: call frame information that breaks its own rules
 * - `bad_frame`: the frame does not advance towards the root
 * - `zero_ra`: the return address is zero in code that is no root
 * - `frame_limit`: as many frames as were asked for
 */
export const WALK_ENDS = [
  'root_undefined_ra',
  'root_entry',
  'stack_end',
  'no_mapping',
  'no_unwind_info',
  'register_unknown',
  'malformed',
  'bad_frame',
  'zero_ra',
  'frame_limit',
] as const;
export type WalkEnd = (typeof WALK_ENDS)[number];

export interface WalkedFrame {
  readonly pc: number;
  readonly exact: boolean;
  /** Found by a frame pointer. */
  readonly byPointer: boolean;
}

export interface Walk {
  /** Leaf first; only frames of which it is certain that control returns there. */
  readonly frames: readonly WalkedFrame[];
  readonly end: WalkEnd;
  /** Where it ended. */
  readonly pc: number;
}

/** Whether a walk that ended so is whole. */
export function isRoot(end: string): boolean {
  return end === 'root_undefined_ra' || end === 'root_entry';
}

const MASK = (1n << 64n) - 1n;
const USER_END = 1n << 57n;
/** Walks from a frame, which is the first of the result, to the root. */
export function walkStack(start: FrameRegisters, stack: StackCopy, findCode: FindCode, maxFrames: number): Walk {
  const frames: WalkedFrame[] = [];
  let frame: CallerFrame = { ...start, byPointer: false };
  for (;;) {
    // A return address may be the first byte after its function: look up the call before it.
    const address = frame.exact ? frame.pc : frame.pc - 1;
    const code = findCode(address);
    // Where a frame pointer led to no code, it was none.
    if (!code) return { frames, end: frame.byPointer ? 'no_unwind_info' : 'no_mapping', pc: frame.pc };
    if (frames.length >= maxFrames) return { frames, end: 'frame_limit', pc: frame.pc };
    frames.push({ pc: frame.pc, exact: frame.exact, byPointer: frame.byPointer });
    const next = new Step(frame, stack, code, findCode).toCaller(address);
    if (typeof next === 'string') return { frames, end: next, pc: frame.pc };
    frame = next;
  }
}

interface CallerFrame extends FrameRegisters {
  readonly byPointer: boolean;
}

/** One step, from a frame to its caller. */
class Step implements ExpressionContext {
  readonly #frame: FrameRegisters;
  readonly #stack: StackCopy;
  readonly #code: Code;
  readonly #findCode: FindCode;
  readonly bias: bigint;

  constructor(frame: FrameRegisters, stack: StackCopy, code: Code, findCode: FindCode) {
    this.#frame = frame;
    this.#stack = stack;
    this.#code = code;
    this.#findCode = findCode;
    this.bias = BigInt(code.bias);
  }

  register(number: number): bigint | undefined {
    return number === RETURN_ADDRESS ? BigInt(this.#frame.pc) : this.#frame.registers[number];
  }

  /** The stack, else the code of mapped files: nothing else of the process is known, nor can it be read later. */
  read(address: bigint, size: number): bigint | undefined {
    const value = this.#stack.read(address, size);
    if (value !== undefined || address >= USER_END) return value;
    const bytes = this.#codeBytes(Number(address), size);
    return bytes.length < size ? undefined : littleEndian(bytes);
  }

  toCaller(address: number): CallerFrame | WalkEnd {
    const { file, bias } = this.#code;
    const known = file?.at(address - bias) ?? { kind: 'none' };
    switch (known.kind) {
      case 'row':
        return this.#byRow(known.row, known.raColumn, known.isSignal);
      case 'rule':
        return this.#byRule(known.rule);
      case 'malformed':
        return 'malformed';
      case 'none':
        return this.#byFramePointer('no_unwind_info');
    }
  }

  get #sp(): bigint | undefined {
    return this.#frame.registers[abi.REG_RSP];
  }

  /** Whether a CFA lies towards the root; before the first instruction of a function it is where rsp is. */
  #advances(cfa: bigint): boolean {
    const sp = this.#sp;
    return sp === undefined || cfa > sp || (cfa === sp && this.#frame.exact);
  }

  #byRow({ cfa: cfaRule, registers }: Row, raColumn: number, isSignal: boolean): CallerFrame | WalkEnd {
    const raRule = registers[raColumn];
    if (raRule?.kind === 'undefined') return 'root_undefined_ra';
    if (!cfaRule || !raRule) return 'malformed';
    let cfa: bigint;
    if (cfaRule.kind === 'register') {
      const base = this.register(cfaRule.register);
      if (base === undefined) return 'register_unknown';
      cfa = (base + cfaRule.offset) & MASK;
    } else {
      const value = evaluateExpression(cfaRule.bytes, this, undefined);
      if (typeof value === 'string') return this.#problem(value);
      cfa = value;
    }
    if (!isSignal && !this.#advances(cfa)) return 'bad_frame';

    const caller: (bigint | undefined)[] = [];
    for (let number = 0; number < abi.REG_COUNT; number++) {
      const rule = registers[number];
      if (rule) caller[number] = this.#apply(rule, number, cfa);
      else caller[number] = number === abi.REG_RSP ? cfa : this.register(number);
    }
    const ra = this.#apply(raRule, raColumn, cfa);
    if (ra === undefined) return raRule.kind === 'register' ? 'register_unknown' : 'stack_end';
    return this.#arrive(ra, caller, isSignal, false);
  }

  #apply(rule: RegisterRule, number: number, cfa: bigint): bigint | undefined {
    switch (rule.kind) {
      case 'undefined':
        return undefined;
      case 'same':
        return this.register(number);
      case 'register':
        return this.register(rule.register);
      case 'offset':
        return this.read((cfa + rule.offset) & MASK, 8);
      case 'valueOffset':
        return (cfa + rule.offset) & MASK;
      case 'expression':
      case 'valueExpression': {
        const value = evaluateExpression(rule.bytes, this, cfa);
        if (typeof value === 'string') return undefined;
        return rule.kind === 'expression' ? this.read(value, 8) : value;
      }
    }
  }

  #problem(problem: 'unknown' | 'malformed'): WalkEnd {
    // Most often it is memory: a CFA that was stored.
    return problem === 'unknown' ? 'stack_end' : 'malformed';
  }

  /** Knowledge in the form of the kernel side's `struct unwind_rule`; see abi.h. */
  #byRule(rule: abi.UnwindRule): CallerFrame | WalkEnd {
    switch (rule.kind) {
      case abi.RULE_ROOT:
        return 'root_undefined_ra';
      case abi.RULE_ENTRY:
        return 'root_entry';
      case abi.RULE_NONE:
        return this.#byFramePointer('no_unwind_info');
      case abi.RULE_FRAME_POINTER:
        return this.#byFramePointer('bad_frame');
      case abi.RULE_GO_SWITCH:
        return this.#byFramePointer('stack_end');
      case abi.RULE_UNSUPPORTED:
        return 'malformed';
      case abi.RULE_SIGNAL:
        return this.#bySignalFrame(rule.cfaOffset);
    }
    const base = this.register(rule.kind === abi.RULE_PLT ? abi.REG_RSP : rule.base);
    if (base === undefined) return 'register_unknown';
    let cfa = (base + BigInt(rule.cfaOffset)) & MASK;
    let origin = cfa;
    if (rule.kind === abi.RULE_PLT && (this.#frame.pc & 15) >= rule.aux) {
      cfa += 8n;
      origin = cfa;
    } else if (rule.kind === abi.RULE_CFA_DEREF) {
      const indexRegister = (rule.aux >> abi.DEREF_INDEX_SHIFT) - 1;
      const index = indexRegister < 0 ? 0n : this.register(indexRegister);
      if (index === undefined) return 'register_unknown';
      const value = this.read((cfa + 8n * index) & MASK, 8);
      if (value === undefined) return 'stack_end';
      cfa = (value + BigInt(rule.aux & abi.DEREF_ADDEND)) & MASK;
      origin = rule.aux & abi.DEREF_SAVED_FROM_BASE ? base : cfa;
    }
    if (!this.#advances(cfa)) return 'bad_frame';

    const caller = this.#frame.registers.slice();
    caller[abi.REG_RSP] = cfa;
    for (const [i, number] of abi.SAVED_REGISTERS.entries()) {
      const words = rule.saved[i];
      if (words === abi.SAVED_LOST) caller[number] = undefined;
      else if (words !== 0) caller[number] = this.read((origin + 8n * BigInt(words)) & MASK, 8);
    }
    if (rule.rbpOffset === abi.RBP_LOST) caller[abi.REG_RBP] = undefined;
    else if (rule.rbpOffset & abi.RBP_SAVED)
      caller[abi.REG_RBP] = this.read((origin + BigInt(rule.rbpOffset & ~abi.RBP_SAVED)) & MASK, 8);
    const ra =
      rule.kind === abi.RULE_RA_REGISTER
        ? this.register(rule.aux)
        : this.read((cfa + 8n * BigInt(rule.raOffset)) & MASK, 8);
    if (ra === undefined) return rule.kind === abi.RULE_RA_REGISTER ? 'register_unknown' : 'stack_end';
    return this.#arrive(ra, caller, false, false);
  }

  /** The frame that a signal interrupted: its registers are in the ucontext at rsp + offset. */
  #bySignalFrame(offset: number): CallerFrame | WalkEnd {
    const sp = this.#sp;
    if (sp === undefined) return 'register_unknown';
    const registers: (bigint | undefined)[] = new Array(abi.REG_COUNT).fill(undefined);
    const at = (slot: number) => this.#stack.word((sp + BigInt(offset + UCONTEXT_GREGS + 8 * slot)) & MASK);
    for (const [slot, number] of GREGS.entries()) registers[number] = at(slot);
    const ra = at(GREGS.length);
    if (ra === undefined) return 'stack_end';
    return this.#arrive(ra, registers, true, false);
  }

  /**
   * Code of which nothing is known, or that keeps frames by rbp. An interrupted instruction of a prologue or an epilogue is
   * told by its bytes, for there the frame is not complete.
   */
  #byFramePointer(refused: WalkEnd): CallerFrame | WalkEnd {
    const { exact, pc, registers } = this.#frame;
    const sp = this.#sp;
    const bp = registers[abi.REG_RBP];
    if (sp === undefined || bp === undefined) return 'register_unknown';
    const caller = registers.slice();
    if (exact) {
      const state = prologueState(this.#codeBytes(pc, 8));
      if (state === 'unknown') return refused;
      if (state !== 'complete') {
        const words = state === 'rbp_not_pushed' ? 0n : 8n;
        const ra = this.#stack.word(sp + words);
        if (words) caller[abi.REG_RBP] = this.#stack.word(sp);
        caller[abi.REG_RSP] = sp + words + 8n;
        return ra === undefined ? 'stack_end' : ra === 0n ? refused : this.#arrive(ra, caller, false, true);
      }
    }
    if (bp < sp || (bp & 7n) !== 0n) return refused;
    const ra = this.#stack.word(bp + 8n);
    if (ra === undefined) return 'stack_end';
    if (ra === 0n) return refused;
    caller[abi.REG_RBP] = this.#stack.word(bp);
    caller[abi.REG_RSP] = bp + 16n;
    return this.#arrive(ra, caller, false, true);
  }

  #arrive(
    ra: bigint,
    registers: readonly (bigint | undefined)[],
    exact: boolean,
    byPointer: boolean,
  ): CallerFrame | WalkEnd {
    if (ra === 0n) return 'zero_ra';
    if (ra >= USER_END) return byPointer ? 'no_unwind_info' : 'no_mapping';
    return { pc: Number(ra), exact, registers, byPointer };
  }

  /** Bytes of code; fewer than asked for where they are not in a file. */
  #codeBytes(address: number, length: number): Uint8Array {
    if (address === this.#frame.pc && (this.#frame.code?.length ?? 0) >= length) return this.#frame.code as Uint8Array;
    const code = address >= this.#code.start && address < this.#code.end ? this.#code : this.#findCode(address);
    return code?.file?.bytesAt(address - code.bias, Math.min(length, code.end - address)) ?? new Uint8Array(0);
  }
}

/** Offset in the ucontext of its registers, and their numbers in order, rip behind them: uapi/asm/{ucontext,sigcontext}.h. */
const UCONTEXT_GREGS = 40;
const GREGS = [8, 9, 10, 11, 12, 13, 14, 15, 5, 4, 6, 3, 1, 0, 2, 7]; // r8 to r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp

/** How far the frame at an interrupted instruction is complete, by its bytes: see step_frame_pointer of the kernel side. */
function prologueState(code: Uint8Array): 'rbp_not_pushed' | 'rbp_pushed' | 'complete' | 'unknown' {
  if (code.length < 8) return 'unknown';
  const isEndbr = code[0] === 0xf3 && code[1] === 0x0f && code[2] === 0x1e && code[3] === 0xfa;
  const [a, b, c] = code.subarray(isEndbr ? 4 : 0);
  if (a === 0x55 || a === 0xc3 || a === 0xc2) return 'rbp_not_pushed'; // push rbp; ret
  if (a === 0x48 && ((b === 0x89 && c === 0xe5) || (b === 0x8b && c === 0xec))) return 'rbp_pushed'; // mov rbp,rsp
  return a === 0x5d ? 'rbp_pushed' : 'complete'; // pop rbp
}

function littleEndian(bytes: Uint8Array): bigint {
  let value = 0n;
  for (let i = bytes.length - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[i]);
  return value;
}
