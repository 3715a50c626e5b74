// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { little, sleb, uleb } from '../unwind-table/call-frame.fixture.ts';
import { type ExpressionContext, evaluateExpression } from './dwarf-expression.ts';

const registers = new Map<number, bigint>([
  [6, 0x7000n],
  [7, 0x8000n],
  [16, 0x40100bn],
]);
const context: ExpressionContext = {
  register: (number) => registers.get(number),
  read: (address, size) =>
    address < 0x1_0000n ? (0x1122334455667788n + address) & ((1n << BigInt(8 * size)) - 1n) : undefined,
  bias: 0x5000_0000n,
};
const evaluate = (bytes: number[], initial?: bigint) => evaluateExpression(Uint8Array.from(bytes), context, initial);
const lit = (n: number) => 0x30 + n;
const constant = (value: bigint) => [0x0e, ...little64(value)];
const little64 = (value: bigint) => {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt.asUintN(64, value), true);
  return [...bytes];
};
const MASK = (1n << 64n) - 1n;

describe('evaluateExpression', () => {
  const cases: [string, number[], bigint | string, bigint?][] = [
    ['literals', [lit(31)], 31n],
    ['const1u', [0x08, 0xff], 255n],
    ['const1s', [0x09, 0xff], MASK],
    ['const2u', [0x0a, 0xff, 0xff], 0xffffn],
    ['const2s', [0x0b, 0xfe, 0xff], MASK - 1n],
    ['const4u', [0x0c, ...little(0xfffffffe, 4)], 0xfffffffen],
    ['const4s', [0x0d, ...little(-5, 4)], MASK - 4n],
    ['const8u', constant(MASK), MASK],
    ['const8s', [0x0f, ...little64(-2n)], MASK - 1n],
    ['constu of 64 bits', [0x10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], MASK],
    ['consts', [0x11, ...sleb(-300)], MASK - 299n],
    ['addr is relocated', [0x03, ...little(0x1234, 8)], 0x5000_1234n],
    ['breg', [0x77, ...sleb(-8)], 0x7ff8n],
    ['bregx', [0x92, ...uleb(6), ...sleb(16)], 0x7010n],
    ['the program counter is a register', [0x80, 0], 0x40100bn],
    ['a register that is not known', [0x73, 0], 'unknown'],
    ['deref', [0x77, 0, 0x06], 0x1122334455667788n + 0x8000n],
    ['deref_size', [0x77, 0, 0x94, 2], 0xf788n],
    ['memory that is not known', [...constant(1n << 40n), 0x06], 'unknown'],
    ['deref of no size', [0x77, 0, 0x94, 0], 'malformed'],
    ['dup, mul', [lit(7), 0x12, 0x1e], 49n],
    ['drop', [lit(1), lit(2), 0x13], 1n],
    ['over', [lit(1), lit(2), 0x14], 1n],
    ['pick', [lit(1), lit(2), lit(3), 0x15, 2], 1n],
    ['swap, minus', [lit(1), lit(9), 0x16, 0x1c], 8n],
    ['rot moves the top below two', [lit(1), lit(2), lit(3), 0x17, 0x13, 0x13], 3n],
    ['abs, neg', [lit(5), 0x1f, 0x19], 5n],
    ['not', [lit(0), 0x20], MASK],
    ['and, or, xor', [lit(12), lit(10), 0x1a, lit(1), 0x21, lit(3), 0x27], 10n],
    ['div is signed', [lit(8), 0x1f, lit(2), 0x1b], MASK - 3n],
    ['div by zero', [lit(8), lit(0), 0x1b], 'malformed'],
    ['mod', [lit(17), lit(5), 0x1d], 2n],
    ['mod by zero', [lit(8), lit(0), 0x1d], 'malformed'],
    ['plus_uconst wraps', [...constant(MASK), 0x23, 2], 1n],
    ['shl, shr', [lit(3), lit(4), 0x24, lit(2), 0x25], 12n],
    ['shl of everything', [lit(3), 0x08, 64, 0x24], 0n],
    ['shra keeps the sign', [lit(8), 0x1f, lit(1), 0x26], MASK - 3n],
    ['eq', [lit(2), lit(2), 0x29], 1n],
    ['ge is signed', [lit(0), lit(1), 0x1f, 0x2a], 1n],
    ['gt', [lit(1), lit(1), 0x2b], 0n],
    ['le', [lit(1), lit(1), 0x2c], 1n],
    ['lt', [lit(1), lit(2), 0x2d], 1n],
    ['ne', [lit(1), lit(2), 0x2e], 1n],
    ['skip', [lit(1), 0x2f, 1, 0, lit(9), 0x96], 1n],
    ['bra is taken where the top is not zero', [lit(1), lit(1), 0x28, 1, 0, lit(9)], 1n],
    ['bra is not taken on zero', [lit(1), lit(0), 0x28, 1, 0, lit(9)], 9n],
    ['a loop ends', [lit(1), 0x2f, 0xfd, 0xff], 'malformed'],
    ['a jump out of the expression', [lit(1), 0x2f, 100, 0], 'malformed'],
    ['a stack that is empty', [0x22], 'malformed'],
    ['nothing', [], 'malformed'],
    ['the CFA of a register rule', [0x23, 8], 0x9008n, 0x9000n],
    ['an operation that call frame information may not have', [0x9c], 'malformed'], // call_frame_cfa
    ['an operand cut off', [0x0e, 1, 2], 'malformed'],
    // Linkers write this for PLT entries: rsp + 8 + ((rip & 15) >= 11) << 3, and rip ends with 11 here.
    ['a PLT entry', [0x77, 8, 0x80, 0, lit(15), 0x1a, lit(11), 0x2a, lit(3), 0x24, 0x22], 0x8010n],
  ];
  for (const [name, bytes, expected, initial] of cases) {
    it(name, () => assert.equal(evaluate(bytes, initial), expected));
  }

  it('computes like 64-bit integers', () => {
    const operators: [number, (a: bigint, b: bigint) => bigint][] = [
      [0x1a, (a, b) => a & b],
      [0x1c, (a, b) => a - b],
      [0x1e, (a, b) => a * b],
      [0x21, (a, b) => a | b],
      [0x22, (a, b) => a + b],
      [0x27, (a, b) => a ^ b],
      [0x2d, (a, b) => (BigInt.asIntN(64, a) < BigInt.asIntN(64, b) ? 1n : 0n)],
    ];
    const word = fc.bigInt({ min: 0n, max: MASK });
    fc.assert(
      fc.property(word, word, fc.constantFrom(...operators), (a, b, [op, compute]) => {
        assert.equal(evaluate([...constant(a), ...constant(b), op]), compute(a, b) & MASK);
      }),
    );
  });

  it('gives a value or a problem for every string of bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
        const value = evaluateExpression(bytes, context, 1n);
        assert.ok(value === 'unknown' || value === 'malformed' || (value >= 0n && value <= MASK));
      }),
      { numRuns: 2000 },
    );
  });
});
