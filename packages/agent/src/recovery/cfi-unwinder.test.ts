// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { sleb } from '../unwind-table/call-frame.fixture.ts';
import * as abi from '../unwind-table/row.ts';
import { RETURN_ADDRESS, type RegisterRule, type Row } from './call-frame-row.ts';
import { type Code, type CodeFile, type FrameRegisters, isRoot, WALK_ENDS, walkStack } from './cfi-unwinder.ts';
import { StackCopy } from './stack-copy.ts';
import type { FrameKnowledge } from './unwind-file.ts';

/** Programs here have functions of 0x100 bytes from 0x400000 on; function number n is at BASE + 0x100 * n. */
const BASE = 0x400000;
const STACK = 0x7ffe_0000;
const pcIn = (n: number) => BASE + 0x100 * n + 0x10;

const offset = (value: number): RegisterRule => ({ kind: 'offset', offset: BigInt(value) });
const RA = { [RETURN_ADDRESS]: offset(-8) };

function row(cfa: Row['cfa'], registers: Record<number, RegisterRule> = RA, isSignal = false): FrameKnowledge {
  const columns: (RegisterRule | undefined)[] = new Array(17).fill(undefined);
  for (const [number, rule] of Object.entries(registers)) columns[Number(number)] = rule;
  return { kind: 'row', row: { cfa, registers: columns }, raColumn: RETURN_ADDRESS, isSignal };
}
const from = (register: number, bytes: number): Row['cfa'] => ({ kind: 'register', register, offset: BigInt(bytes) });
const expression = (...bytes: number[]) => ({ kind: 'expression', bytes: Uint8Array.from(bytes) }) as const;
const breg = (register: number, value: number) => [0x70 + register, ...sleb(value)];
const ROOT = row(from(7, 8), { [RETURN_ADDRESS]: { kind: 'undefined' } });
const rule = (kind: number, more: Partial<abi.UnwindRule> = {}): FrameKnowledge => ({
  kind: 'rule',
  rule: { ...abi.ruleOfKind(kind), base: abi.REG_RSP, raOffset: -1, ...more },
});

/** A program whose function number n is known as `functions[n]`, with `code` at every address. */
function program(functions: readonly FrameKnowledge[], code = [0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90]) {
  const file: CodeFile = {
    at: (address) => functions[Math.floor((address - BASE) / 0x100)] ?? { kind: 'none' },
    bytesAt: (_address, length) => Uint8Array.from(code).subarray(0, length),
  };
  const mapped: Code = { start: BASE, end: BASE + 0x100 * functions.length, file, bias: 0 };
  return (address: number) => (address >= mapped.start && address < mapped.end ? mapped : undefined);
}

/** A stack of words from STACK on; null: anything. */
function stack(...words: (number | bigint | null)[]): StackCopy {
  return new StackCopy(
    BigInt(STACK),
    new Uint8Array(BigUint64Array.from(words, (word) => BigInt(word ?? 0xdead)).buffer),
  );
}

function start(n: number, registers: Record<number, number | bigint> = {}, exact = true): FrameRegisters {
  const values: (bigint | undefined)[] = new Array(16).fill(undefined);
  values[7] = BigInt(STACK);
  for (const [number, value] of Object.entries(registers)) values[Number(number)] = BigInt(value);
  return { pc: pcIn(n), exact, registers: values };
}

function walk(functions: readonly FrameKnowledge[], memory: StackCopy, frame = start(0), code?: number[], max = 100) {
  const { frames, end } = walkStack(frame, memory, program(functions, code), max);
  return { pcs: frames.map(({ pc }) => pc), end, frames };
}

describe('walkStack', () => {
  it('walks by rsp to a root', () => {
    const { pcs, end, frames } = walk([row(from(7, 24)), row(from(7, 8)), ROOT], stack(null, null, pcIn(1), pcIn(2)));
    assert.deepEqual(pcs, [pcIn(0), pcIn(1), pcIn(2)]);
    assert.equal(end, 'root_undefined_ra');
    assert.deepEqual(
      frames.map(({ exact }) => exact),
      [true, false, false],
    );
  });

  it('looks up the call before a return address, and an interrupted instruction itself', () => {
    const atStart = BASE + 0x100; // the first byte of function 1: the call is the last instruction of function 0
    const functions = [ROOT, row(from(7, 999))];
    assert.equal(walk(functions, stack(), { ...start(1, {}, false), pc: atStart }).end, 'root_undefined_ra');
    assert.equal(walk(functions, stack(), { ...start(1), pc: atStart }).end, 'stack_end');
  });

  it('walks by rbp, which frames between have saved', () => {
    const saves = row(from(6, 16), { ...RA, 6: offset(-16) });
    const memory = stack(null, STACK + 0x28, pcIn(1), null, null, 0x1234, pcIn(2));
    assert.deepEqual(walk([saves, saves, ROOT], memory, start(0, { 6: STACK + 8 })).pcs, [pcIn(0), pcIn(1), pcIn(2)]);
  });

  it('keeps registers without a rule, and none whose value is lost', () => {
    const leaf = row(from(7, 8));
    for (const register of [abi.REG_RBX, abi.REG_R12, abi.REG_R15, abi.REG_R10, abi.REG_RAX]) {
      const functions = [leaf, row(from(register, 16)), ROOT];
      const memory = stack(pcIn(1), null, pcIn(2));
      assert.equal(walk(functions, memory, start(0, { [register]: STACK + 8 })).end, 'root_undefined_ra');
      assert.equal(walk(functions, memory, start(0)).end, 'register_unknown');
    }
  });

  it('applies every rule of a register', () => {
    const rules: [RegisterRule, (memory: (number | null)[]) => void][] = [
      [{ kind: 'offset', offset: -16n }, (memory) => { memory[0] = STACK + 16; }],
      [{ kind: 'valueOffset', offset: 0n }, () => {}],
      [{ kind: 'register', register: 2 }, () => {}],
      [{ kind: 'same' }, () => {}],
      [expression(0x38, 0x1c), (memory) => { memory[1] = STACK + 16; }], // *(CFA - 8): over the return address
      [{ kind: 'valueExpression', bytes: Uint8Array.of(0x77, 16) }, () => {}],
    ]; // biome-ignore format: a rule a line
    for (const [rbx, prepare] of rules) {
      const memory: (number | null)[] = [null, pcIn(1), null, pcIn(2)];
      prepare(memory);
      const isExpression = rbx.kind === 'expression';
      const functions = [
        row(from(7, 16), { [RETURN_ADDRESS]: isExpression ? { kind: 'register', register: 0 } : offset(-8), 3: rbx }),
        row(from(3, 16)),
        ROOT,
      ];
      const frame = start(0, { 2: STACK + 16, 3: STACK + 16, 0: pcIn(1) });
      assert.equal(walk(functions, stack(...memory), frame).end, 'root_undefined_ra', rbx.kind);
    }
    const lost = [row(from(7, 16), { ...RA, 3: { kind: 'undefined' } }), row(from(3, 16)), ROOT];
    assert.equal(walk(lost, stack(null, pcIn(1), null, pcIn(2)), start(0, { 3: STACK })).end, 'register_unknown');
  });

  it('computes a CFA by an expression, also from code', () => {
    const plt = row(expression(...breg(7, 8), ...breg(16, 0), 0x3f, 0x1a, 0x3b, 0x2a, 0x33, 0x24, 0x22)); // see the test of expressions
    const at = (low: number): FrameRegisters => ({ ...start(0), pc: BASE + 0x20 + low });
    assert.equal(walk([plt, ROOT], stack(pcIn(1), null), at(5)).end, 'root_undefined_ra');
    assert.equal(walk([plt, ROOT], stack(null, pcIn(1)), at(11)).end, 'root_undefined_ra');
    // *(code) & 0x10: 0x90 bytes
    const fromCode = row(expression(0x0c, ...[0x00, 0x00, 0x40, 0x00], 0x94, 1, 0x40, 0x1a, ...breg(7, 0), 0x22));
    assert.equal(walk([fromCode, ROOT], stack(null, pcIn(1))).end, 'root_undefined_ra');
    assert.equal(walk([row(expression(0x22))], stack()).end, 'malformed');
  });

  it('goes on at the interrupted instruction behind a signal frame, on whatever stack', () => {
    const saved = (slot: number) => expression(...breg(7, 8 * slot));
    const trampoline = row(
      expression(...breg(7, 16), 0x06),
      { 7: saved(2), 3: saved(1), [RETURN_ADDRESS]: saved(0) },
      true,
    );
    const interrupted = BASE + 0x200; // the first byte of function 2: exact, so that nothing is taken off
    // The signal came while another stack was in use, lower than that of the handler.
    const memory = stack(pcIn(3), null, interrupted, STACK, STACK);
    const { pcs, end, frames } = walk([{ kind: 'none' }, trampoline, row(from(3, 8)), ROOT], memory, {
      ...start(1, { 7: STACK + 16 }),
      exact: false,
    });
    assert.deepEqual(pcs, [pcIn(1), interrupted, pcIn(3)]);
    assert.equal(frames[1].exact, true);
    assert.equal(end, 'root_undefined_ra');
  });

  it('knows the rules of the kernel side', () => {
    const one = (knowledge: FrameKnowledge, words: (number | null)[], registers: Record<number, number> = {}) =>
      walk([knowledge, ROOT], stack(...words), start(0, registers)).end;
    assert.equal(one(rule(abi.RULE_ROOT), []), 'root_undefined_ra');
    assert.equal(one(rule(abi.RULE_ENTRY), []), 'root_entry');
    assert.equal(one(rule(abi.RULE_CFA, { cfaOffset: 16 }), [null, pcIn(1)]), 'root_undefined_ra');
    const deref = rule(abi.RULE_CFA_DEREF, { cfaOffset: 8, aux: 8 }); // CFA = *(rsp + 8) + 8
    assert.equal(one(deref, [null, STACK + 16, pcIn(1)]), 'root_undefined_ra');
    assert.equal(
      one(rule(abi.RULE_RA_REGISTER, { cfaOffset: 8, aux: 2 }), [null], { 2: pcIn(1) }),
      'root_undefined_ra',
    );
    assert.equal(one(rule(abi.RULE_UNSUPPORTED), []), 'malformed');
    const greg = (slot: number) => 5 + slot; // words from rsp: UCONTEXT_GREGS is 40
    const ucontext: (number | null)[] = new Array(22).fill(null);
    ucontext[greg(15)] = STACK + 0x80;
    ucontext[greg(16)] = pcIn(1);
    assert.equal(one(rule(abi.RULE_SIGNAL), ucontext), 'root_undefined_ra');
    assert.equal(one(rule(abi.RULE_SIGNAL), ucontext.slice(0, 20)), 'stack_end');
  });

  it('falls back to the frame pointer, under checks', () => {
    const none: FrameKnowledge = { kind: 'none' };
    const byPointer = (words: (number | null)[], rbp: number, code?: number[], exact = true) =>
      walk([none, ROOT], stack(...words), start(0, { 6: rbp }, exact), code);
    const whole = byPointer([null, 0x10, pcIn(1)], STACK + 8);
    assert.equal(whole.end, 'root_undefined_ra');
    assert.deepEqual(
      whole.frames.map((frame) => frame.byPointer),
      [false, true],
    );
    assert.equal(byPointer([null, 0x10, pcIn(1)], STACK + 9).end, 'no_unwind_info', 'not aligned');
    assert.equal(byPointer([null, 0x10, pcIn(1)], STACK - 8).end, 'no_unwind_info', 'below the stack pointer');
    assert.equal(byPointer([null, 0x10, 0], STACK + 8).end, 'no_unwind_info', 'no return address');
    assert.equal(byPointer([null, 0x10, 0x1234], STACK + 8).end, 'no_unwind_info', 'leads to no code');
    assert.deepEqual(byPointer([null, 0x10, 0x1234], STACK + 8).pcs, [pcIn(0)]);
    assert.equal(byPointer([null], STACK + 0x1000).end, 'stack_end');
    const padded = (...bytes: number[]) => [...bytes, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90].slice(0, 8);
    for (const code of [[0x55], [0xc3], [0xf3, 0x0f, 0x1e, 0xfa, 0x55]])
      assert.equal(byPointer([pcIn(1)], STACK + 0x800, padded(...code)).end, 'root_undefined_ra', 'rbp not pushed yet');
    for (const code of [[0x48, 0x89, 0xe5], [0x5d]])
      assert.equal(byPointer([0x10, pcIn(1)], STACK + 0x800, padded(...code)).end, 'root_undefined_ra', 'rbp pushed');
    assert.equal(byPointer([pcIn(1)], STACK + 0x800, padded(0x55), false).end, 'stack_end', 'only where interrupted');
    assert.equal(byPointer([null, 0x10, pcIn(1)], STACK + 8, []).end, 'no_unwind_info', 'code that cannot be seen');
  });

  it('says why it ends elsewhere', () => {
    assert.equal(walk([row(from(7, 8))], stack()).end, 'stack_end');
    assert.equal(walk([row(from(7, 8))], stack(0)).end, 'zero_ra');
    assert.equal(walk([row(from(7, 8))], stack(0x1234)).end, 'no_mapping');
    assert.equal(walk([row(from(7, 8))], stack(-1n & ((1n << 64n) - 1n))).end, 'no_mapping');
    assert.equal(walk([row(from(7, -8))], stack(pcIn(0))).end, 'bad_frame');
    assert.equal(walk([row(from(7, 8), {})], stack(pcIn(0))).end, 'malformed');
    assert.equal(walk([{ kind: 'malformed' }], stack()).end, 'malformed');
    const loop = new Array(200).fill(pcIn(0));
    assert.deepEqual(walk([row(from(7, 8))], stack(...loop), start(0), undefined, 50).pcs.length, 50);
    assert.equal(walk([row(from(7, 8))], stack(...loop), start(0), undefined, 50).end, 'frame_limit');
  });

  it('finds every frame of any stack', () => {
    const size = fc.integer({ min: 1, max: 12 });
    const frame = fc.record({ size, byRbp: fc.boolean(), savesRbx: fc.boolean(), savesRbp: fc.boolean() });
    fc.assert(
      fc.property(fc.array(frame, { minLength: 1, maxLength: 60 }), (frames) => {
        // Each frame has its own function; a frame that is found by rbp has set it up.
        const functions: FrameKnowledge[] = [];
        const words: (number | null)[] = [];
        for (const [n, { size: own, byRbp, savesRbp }] of frames.entries()) {
          const extra = byRbp || savesRbp ? 1 : 0;
          for (let i = 0; i < own + extra; i++) words.push(null);
          words.push(pcIn(n + 1));
          functions.push(
            byRbp
              ? row(from(6, 16), { ...RA, 6: offset(-16) })
              : row(from(7, 8 * (own + extra + 1)), savesRbp ? { ...RA, 6: offset(-16) } : RA),
          );
        }
        functions.push(ROOT);
        // From the root inwards: what rbp is in each frame, and so what the frame below has saved.
        let index = words.length;
        let callers = 0x5555n;
        for (let n = frames.length - 1; n >= 0; n--) {
          const { size: own, byRbp, savesRbp } = frames[n];
          const extra = byRbp || savesRbp ? 1 : 0;
          const raAt = index - 1;
          if (extra) words[raAt - 1] = Number(callers);
          if (byRbp) callers = BigInt(STACK + 8 * (raAt - 1));
          else if (savesRbp) callers = 0x7777n + BigInt(n); // used for something else
          index = raAt - own - extra;
        }
        const found = walk(functions, stack(...words), start(0, { 6: callers }));
        assert.equal(found.end, 'root_undefined_ra');
        assert.deepEqual(found.pcs, [...frames.keys(), frames.length].map(pcIn));
      }),
      { numRuns: 300 },
    );
  });

  it('comes to an end on any stack, with any registers', () => {
    const known: FrameKnowledge[] = [
      row(from(7, 8)), row(from(6, 16), { ...RA, 6: offset(-16) }), row(from(3, 0)), ROOT, { kind: 'none' }, { kind: 'malformed' },
      row(expression(...breg(7, 8), 0x06)), row(from(7, 16), { ...RA, 7: offset(-16) }, true),
      rule(abi.RULE_SIGNAL), rule(abi.RULE_GO_SWITCH), rule(abi.RULE_PLT, { cfaOffset: 8, aux: 11 }), rule(abi.RULE_FRAME_POINTER),
      rule(abi.RULE_CFA_DEREF, { base: abi.REG_RBP, cfaOffset: -8, aux: 0x108 }), rule(abi.RULE_ENTRY),
    ]; // biome-ignore format: short
    const address = fc.oneof(
      fc.nat(known.length * 0x100).map((at) => BigInt(BASE + at)),
      fc.nat(0x400).map((at) => BigInt(STACK + 8 * at)),
      fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
      fc.constantFrom(0n, 1n, (1n << 64n) - 1n, 1n << 63n, 1n << 57n),
    );
    const optional = fc.option(address, { nil: undefined });
    fc.assert(
      fc.property(
        fc.array(address, { maxLength: 200 }),
        fc.array(optional, { minLength: 16, maxLength: 16 }),
        fc.nat(known.length * 0x100),
        fc.boolean(),
        (words, registers, at, exact) => {
          const memory = new StackCopy(BigInt(STACK), new Uint8Array(BigUint64Array.from(words).buffer));
          const found = walkStack({ pc: BASE + at, exact, registers }, memory, program(known), 64);
          assert.ok(found.frames.length <= 64);
          assert.ok(WALK_ENDS.includes(found.end));
          assert.equal(isRoot(found.end), found.end.startsWith('root_'));
        },
      ),
      { numRuns: 3000 },
    );
  });
});
