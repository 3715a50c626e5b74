// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { enums, limits, structs } from '@plumbline/bpf';
import fc from 'fast-check';
import { decodeRecord } from './decode.ts';
import { decodeSpill } from './spill.ts';

const { size, offsets } = structs.spill;

function record(stack: readonly number[], room = stack.length): DataView {
  const view = new DataView(new ArrayBuffer(16 + size + room), 16); // not at the start of its buffer
  view.setUint16(offsets.type, enums.record_type.RECORD_SPILL, true);
  view.setUint8(offsets.flags, limits.SPILL_EXACT | limits.SPILL_VERIFY);
  view.setUint32(offsets.known, (1 << 7) | (1 << 3), true);
  view.setBigUint64(offsets.time, 123_456_789_012_345n, true);
  view.setUint32(offsets.tgid, 5, true);
  view.setUint32(offsets.tid, 6, true);
  view.setUint32(offsets.generation, 7, true);
  view.setUint32(offsets.frame, 8, true);
  view.setUint32(offsets.max_frames, 9, true);
  view.setUint32(offsets.length, stack.length, true);
  view.setBigUint64(offsets.pc, 0x7f00_0000_1234n, true);
  view.setBigUint64(offsets.code, 0x55n, true);
  view.setBigUint64(offsets.start, 0x7ffe_0000_0000n, true);
  view.setBigUint64(offsets.registers + 8 * 7, 0x7ffe_0000_0080n, true);
  view.setBigUint64(offsets.registers + 8 * 3, (1n << 64n) - 1n, true);
  view.setBigUint64(offsets.registers, 77n, true); // not known
  stack.forEach((byte, i) => void view.setUint8(size + i, byte));
  return view;
}

describe('decodeSpill', () => {
  it('reads every field, and copies the stack', () => {
    const view = record([1, 2, 3], 16);
    const spill = decodeSpill(view, 0, view.byteLength);
    assert.ok(spill);
    const { stack, registers, code, ...rest } = spill;
    assert.deepEqual(rest, {
      ...{ tgid: 5, tid: 6, generation: 7, time: 123_456_789_012_345, isLeaf: true, frame: 8, maxFrames: 9 },
      ...{ pc: 0x7f00_0000_1234, exact: true, stackStart: 0x7ffe_0000_0000n },
    });
    assert.deepEqual(
      [registers.length, registers[7], registers[3], registers[0]],
      [16, 0x7ffe_0000_0080n, (1n << 64n) - 1n, undefined],
    );
    assert.deepEqual([...code], [0x55, 0, 0, 0, 0, 0, 0, 0]);
    assert.deepEqual([...stack], [1, 2, 3]);
    new Uint8Array(view.buffer).fill(0xff);
    assert.deepEqual([...stack], [1, 2, 3]);
  });

  it('is one of the records of the ring', () => {
    const view = record([1, 2]);
    assert.equal(decodeRecord(view, 0, view.byteLength)?.kind, 'spill');
  });

  it('refuses lengths that are not there', () => {
    const view = record([1, 2, 3, 4]);
    assert.equal(decodeSpill(view, 0, size - 1), undefined);
    assert.equal(decodeSpill(view, 0, size + 3), undefined);
    view.setUint32(offsets.length, limits.MAX_SPILL + 1, true);
    assert.equal(decodeSpill(view, 0, view.byteLength), undefined);
    view.setUint32(offsets.length, 0xffffffff, true);
    assert.equal(decodeSpill(view, 0, view.byteLength), undefined);
  });

  it('gives a spill or none for any bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: size + 64 }), (bytes) => {
        const view = new DataView(bytes.slice().buffer);
        const spill = decodeSpill(view, 0, bytes.length);
        if (spill) assert.ok(spill.stack.length + size <= bytes.length && spill.registers.length === 16);
      }),
    );
  });
});
