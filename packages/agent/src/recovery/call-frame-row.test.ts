// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { bytesSource } from '../elf/source.ts';
import { CallFrames, type CieOptions, little, sleb, uleb } from '../unwind-table/call-frame.fixture.ts';
import { SectionWindow } from '../unwind-table/section-window.ts';
import { RETURN_ADDRESS, type Row, rowAt } from './call-frame-row.ts';
import { FrameDescriptions } from './frame-description.ts';

const START = 0x2000;

function open(frames: CallFrames): FrameDescriptions {
  const bytes = Uint8Array.from(frames.bytes);
  const window = new SectionWindow(bytesSource(bytes), 0, bytes.length, frames.isEh ? frames.address : 0);
  return new FrameDescriptions(window, { isEh: frames.isEh });
}

function row(instructions: number[], offset: number, cie: CieOptions = {}, isEh = true): Row | undefined {
  const description = open(new CallFrames(isEh).cie(cie).fde(START, 100, instructions)).find(START + offset);
  assert.ok(description);
  return rowAt(description, START + offset);
}

const cfa = (instructions: number[], offset: number) => row(instructions, offset)?.cfa;
const rule = (register: number, instructions: number[], offset = 50) => row(instructions, offset)?.registers[register];
const rsp = (offset: bigint) => ({ kind: 'register', register: 7, offset });

describe('rowAt', () => {
  it('begins with the rules of the CIE', () => {
    assert.deepEqual(cfa([], 0), rsp(8n));
    assert.deepEqual(rule(RETURN_ADDRESS, []), { kind: 'offset', offset: -8n });
    assert.equal(rule(6, []), undefined);
  });

  it('takes the instructions up to the address, and none behind it', () => {
    const program = [
      0x41,
      0x0e,
      16,
      0x02,
      3,
      0x0e,
      24,
      0x03,
      4,
      0,
      0x0e,
      32,
      0x04,
      5,
      0,
      0,
      0,
      0x0e,
      40,
      0x1d,
      ...little(6, 8),
      0x0e,
      48,
    ];
    const offsets = [0, 1, 3, 4, 7, 8, 12, 13, 18, 19].map((at) => (cfa(program, at) as { offset: bigint }).offset);
    assert.deepEqual(offsets, [8n, 16n, 16n, 24n, 24n, 32n, 32n, 40n, 40n, 48n]);
  });

  it('knows every rule of a register', () => {
    assert.deepEqual(rule(3, [0x83, 2]), { kind: 'offset', offset: -16n });
    assert.deepEqual(rule(3, [0x05, 3, 4]), { kind: 'offset', offset: -32n });
    assert.deepEqual(rule(3, [0x11, 3, ...sleb(-1)]), { kind: 'offset', offset: 8n });
    assert.deepEqual(rule(3, [0x2f, 3, 2]), { kind: 'offset', offset: 16n });
    assert.deepEqual(rule(3, [0x14, 3, 2]), { kind: 'valueOffset', offset: -16n });
    assert.deepEqual(rule(3, [0x15, 3, ...sleb(-2)]), { kind: 'valueOffset', offset: 16n });
    assert.deepEqual(rule(3, [0x07, 3]), { kind: 'undefined' });
    assert.deepEqual(rule(3, [0x08, 3]), { kind: 'same' });
    assert.deepEqual(rule(16, [0x09, 16, 2]), { kind: 'register', register: 2 });
    assert.deepEqual(rule(3, [0x10, 3, 2, 0x77, 8]), { kind: 'expression', bytes: Uint8Array.of(0x77, 8) });
    assert.deepEqual(rule(3, [0x16, 3, 2, 0x77, 8]), { kind: 'valueExpression', bytes: Uint8Array.of(0x77, 8) });
  });

  it('knows every rule of the CFA', () => {
    assert.deepEqual(cfa([0x0c, 6, 16], 50), { kind: 'register', register: 6, offset: 16n });
    assert.deepEqual(cfa([0x12, 6, ...sleb(-2)], 50), { kind: 'register', register: 6, offset: 16n });
    assert.deepEqual(cfa([0x0d, 6], 50), { kind: 'register', register: 6, offset: 8n });
    assert.deepEqual(cfa([0x13, ...sleb(-3)], 50), rsp(24n));
    assert.deepEqual(cfa([0x0f, 2, 0x77, 8], 50), { kind: 'expression', bytes: Uint8Array.of(0x77, 8) });
  });

  it('restores what the CIE says, and remembers states', () => {
    assert.equal(rule(3, [0x83, 2, 0xc3]), undefined);
    assert.deepEqual(rule(RETURN_ADDRESS, [0x90, 5, 0x06, 16]), { kind: 'offset', offset: -8n });
    const program = [0x0a, 0x0e, 64, 0x83, 2, 0x41, 0x0b];
    assert.deepEqual(cfa(program, 0), rsp(64n));
    assert.deepEqual(cfa(program, 1), rsp(8n));
    assert.equal(rule(3, program, 1), undefined);
  });

  it('skips what is of no use, and refuses what it does not know', () => {
    assert.deepEqual(cfa([0x00, 0x2e, ...uleb(300), 0x0e, 16], 50), rsp(16n));
    for (const program of [[0x3f], [0x0b], [0x0f, 2, 0x77, 8, 0x0e, 16], [0x01, 0xff]])
      assert.equal(row(program, 50), undefined, String(program));
    assert.equal(row([], 0, { instructions: [0x41] }), undefined);
  });

  it('reads both sections and both formats', () => {
    for (const isEh of [true, false]) {
      for (const is64 of [false, true]) {
        const frames = new CallFrames(isEh)
          .cie({ is64 })
          .fde(0x1000, 16, [0x0e, 24], undefined, is64)
          .fde(0x3000, 16, []);
        const description = open(frames).find(0x1008);
        assert.ok(description);
        assert.deepEqual([description.start, description.end], [0x1000, 0x1010]);
        assert.deepEqual(rowAt(description, 0x1008)?.cfa, rsp(24n));
        for (const outside of [0xfff, 0x1010, 0x2fff, 0x3010]) assert.equal(open(frames).find(outside), undefined);
      }
    }
  });

  it('tells frames of signals, and refuses augmentations that it does not know', () => {
    const find = (augmentation: string, augmentationData: number[]) =>
      open(new CallFrames(true).cie({ augmentation, augmentationData }).fde(START, 16, [])).find(START);
    assert.equal(find('zRS', [0x1b])?.cie.isSignal, true);
    assert.equal(find('zR', [0x1b])?.cie.isSignal, false);
    assert.equal(find('zPLR', [0x03, 1, 2, 3, 4, 0x1b, 0x1b])?.start, START);
    assert.equal(find('zX', [0]), undefined);
  });

  it('gives a row or none for every program', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), fc.nat(99), (program, offset) => {
        const found = row([...program], offset);
        if (found) assert.ok(found.registers.length <= 17);
      }),
      { numRuns: 2000 },
    );
  });
});
