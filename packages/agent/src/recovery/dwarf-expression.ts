// SPDX-License-Identifier: Apache-2.0
/** Evaluates DWARF expressions of call frame information: the stack machine of DWARF 5, section 2.5, on 64-bit values. */
import { Cursor } from '../unwind-table/cursor.ts';

/** What an expression may look at. Each returns undefined where the value is not known. */
export interface ExpressionContext {
  /** A register by its DWARF number; number 16 is the program counter. */
  register(number: number): bigint | undefined;
  /** `size` bytes (1 to 8) of memory, little endian. */
  read(address: bigint, size: number): bigint | undefined;
  /** What is added to an address of the file to make it one of the process. */
  readonly bias: bigint;
}

/** Why an expression has no value. `unknown`: a register or memory; `malformed`: it breaks the rules, or a limit. */
export type ExpressionProblem = 'unknown' | 'malformed';

const MAX_STACK = 64;
const MAX_STEPS = 4096;
const MASK = (1n << 64n) - 1n;

const signed = (value: bigint) => BigInt.asIntN(64, value);

class Problem extends Error {
  readonly problem: ExpressionProblem;

  constructor(problem: ExpressionProblem) {
    super(problem);
    this.problem = problem;
  }
}

/**
 * The value that is on top of the stack when the expression ends. `initial` is on the stack when it begins: the CFA, for
 * expressions of registers.
 */
export function evaluateExpression(
  bytes: Uint8Array,
  context: ExpressionContext,
  initial: bigint | undefined,
): bigint | ExpressionProblem {
  const machine = new Machine(bytes, context);
  try {
    if (initial !== undefined) machine.push(initial);
    return machine.run();
  } catch (error) {
    if (error instanceof Problem) return error.problem;
    throw error;
  }
}

class Machine {
  readonly #cursor: Cursor;
  readonly #context: ExpressionContext;
  readonly #stack: bigint[] = [];

  constructor(bytes: Uint8Array, context: ExpressionContext) {
    this.#cursor = new Cursor(bytes);
    this.#context = context;
  }

  push(value: bigint): void {
    if (this.#stack.length === MAX_STACK) throw new Problem('malformed');
    this.#stack.push(value & MASK);
  }

  run(): bigint {
    const cursor = this.#cursor;
    for (let steps = 0; cursor.at < cursor.end; steps++) {
      if (steps === MAX_STEPS) throw new Problem('malformed');
      this.#step(cursor.u8());
      if (cursor.overrun) throw new Problem('malformed');
    }
    return this.#pop();
  }

  #pop(): bigint {
    const value = this.#stack.pop();
    if (value === undefined) throw new Problem('malformed');
    return value;
  }

  /** The entry `depth` below the top. */
  #pick(depth: number): bigint {
    const value = this.#stack.at(-1 - depth);
    if (value === undefined || depth < 0) throw new Problem('malformed');
    return value;
  }

  #register(number: number): bigint {
    const value = this.#context.register(number);
    if (value === undefined) throw new Problem('unknown');
    return value;
  }

  #read(size: number): bigint {
    if (size < 1 || size > 8) throw new Problem('malformed');
    const value = this.#context.read(this.#pop(), size);
    if (value === undefined) throw new Problem('unknown');
    return value;
  }

  #step(op: number): void {
    const cursor = this.#cursor;
    if (op >= 0x30 && op <= 0x4f) return this.push(BigInt(op - 0x30)); // lit0 to lit31
    if (op >= 0x70 && op <= 0x8f) return this.push(this.#register(op - 0x70) + leb(cursor, true)); // breg0 to breg31
    if (op >= 0x19 && op <= 0x2e && op !== 0x28) return this.#compute(op);
    switch (op) {
      case 0x03: // addr
        return this.push(fixed(cursor, 8, false) + this.#context.bias);
      case 0x06: // deref
        return this.push(this.#read(8));
      case 0x08: // const1u, 1s, 2u, 2s, 4u, 4s, 8u, 8s
      case 0x09:
      case 0x0a:
      case 0x0b:
      case 0x0c:
      case 0x0d:
      case 0x0e:
      case 0x0f:
        return this.push(fixed(cursor, 1 << ((op - 0x08) >> 1), (op & 1) === 1));
      case 0x10: // constu
        return this.push(leb(cursor, false));
      case 0x11: // consts
        return this.push(leb(cursor, true));
      case 0x12: // dup
        return this.push(this.#pick(0));
      case 0x13: // drop
        this.#pop();
        return;
      case 0x14: // over
        return this.push(this.#pick(1));
      case 0x15: // pick
        return this.push(this.#pick(cursor.u8()));
      case 0x16: // swap
        return this.#rotate(2);
      case 0x17: // rot
        return this.#rotate(3);
      case 0x28: {
        // bra
        const distance = cursor.i16();
        if (this.#pop() !== 0n) this.#jump(distance);
        return;
      }
      case 0x2f: // skip
        return this.#jump(cursor.i16());
      case 0x92: // bregx
        return this.push(this.#register(cursor.uleb()) + leb(cursor, true));
      case 0x94: // deref_size
        return this.push(this.#read(cursor.u8()));
      case 0x96: // nop
        return;
      default:
        throw new Problem('malformed');
    }
  }

  /** Operators on the topmost one or two values: 0x19 (abs) to 0x2e (ne). */
  #compute(op: number): void {
    const b = this.#pop();
    switch (op) {
      case 0x19: // abs
        return this.push(signed(b) < 0n ? -b : b);
      case 0x1f: // neg
        return this.push(-b);
      case 0x20: // not
        return this.push(~b);
      case 0x23: // plus_uconst
        return this.push(b + leb(this.#cursor, false));
    }
    const a = this.#pop();
    switch (op) {
      case 0x1a:
        return this.push(a & b);
      case 0x1b: // div, signed
        if (b === 0n) throw new Problem('malformed');
        return this.push(signed(a) / signed(b));
      case 0x1c:
        return this.push(a - b);
      case 0x1d: // mod, unsigned
        if (b === 0n) throw new Problem('malformed');
        return this.push(a % b);
      case 0x1e:
        return this.push(a * b);
      case 0x21:
        return this.push(a | b);
      case 0x22:
        return this.push(a + b);
      case 0x24: // shl
        return this.push(b > 63n ? 0n : a << b);
      case 0x25: // shr
        return this.push(b > 63n ? 0n : a >> b);
      case 0x26: // shra
        return this.push(signed(a) >> (b > 63n ? 63n : b));
      case 0x27:
        return this.push(a ^ b);
      case 0x29:
        return this.push(a === b ? 1n : 0n);
      case 0x2a: // ge; comparisons are signed
        return this.push(signed(a) >= signed(b) ? 1n : 0n);
      case 0x2b:
        return this.push(signed(a) > signed(b) ? 1n : 0n);
      case 0x2c:
        return this.push(signed(a) <= signed(b) ? 1n : 0n);
      case 0x2d:
        return this.push(signed(a) < signed(b) ? 1n : 0n);
      default: // ne
        return this.push(a !== b ? 1n : 0n);
    }
  }

  /** Moves the top below the `count - 1` entries under it. */
  #rotate(count: number): void {
    if (this.#stack.length < count) throw new Problem('malformed');
    this.#stack.splice(-count, 0, this.#stack.pop() as bigint);
  }

  #jump(distance: number): void {
    const to = this.#cursor.at + distance;
    if (to < 0 || to > this.#cursor.end) throw new Problem('malformed');
    this.#cursor.at = to;
  }
}

function fixed(cursor: Cursor, size: number, isSigned: boolean): bigint {
  let value = 0n;
  for (let i = 0; i < size; i++) value |= BigInt(cursor.u8()) << BigInt(8 * i);
  return isSigned ? BigInt.asIntN(8 * size, value) : value;
}

/** All 64 bits of a LEB128 number, which a JavaScript number does not hold. */
function leb(cursor: Cursor, isSigned: boolean): bigint {
  let value = 0n;
  let shift = 0n;
  for (;;) {
    const byte = cursor.u8();
    if (shift < 64n) value |= BigInt(byte & 0x7f) << shift;
    shift += 7n;
    if ((byte & 0x80) === 0) return isSigned ? BigInt.asIntN(Math.min(64, Number(shift)), value) : value;
  }
}
