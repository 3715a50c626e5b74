// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { enums, structs } from '@plumbline/bpf';
import fc from 'fast-check';
import { decodeRecord } from './decode.ts';

const { size, offsets } = structs.sample;
const frameAt = (n: number) => 0x7f00_0000_0000 + 16 * n;

/** The record of a walk of `depth` frames of which at most `maxFrames` are kept, as push_frame of the kernel side fills it. */
function record(depth: number, maxFrames: number): DataView {
  const kept: number[] = [];
  const ring = maxFrames - Math.floor(maxFrames / 2);
  let next = 0;
  for (let n = 0; n < depth; n++) {
    kept[next] = frameAt(n);
    if (++next >= maxFrames) next = ring;
  }
  const view = new DataView(new ArrayBuffer(size + 8 * kept.length));
  view.setUint16(offsets.type, enums.record_type.RECORD_SAMPLE, true);
  view.setUint32(offsets.user_frames, kept.length, true);
  view.setUint32(offsets.elided, depth - kept.length, true);
  kept.forEach((frame, i) => void view.setBigUint64(size + 8 * i, BigInt(frame), true));
  return view;
}

describe('decodeRecord', () => {
  it('puts both ends of a stack with frames left out in order', () => {
    fc.assert(
      fc.property(fc.nat(300), fc.integer({ min: 16, max: 70 }), (depth, maxFrames) => {
        const view = record(depth, maxFrames);
        const decoded = decodeRecord(view, 0, view.byteLength);
        assert.ok(decoded?.kind === 'sample' && decoded.stack);
        const { user, elided, elidedAt } = decoded.stack;
        const all = Array.from({ length: depth }, (_, n) => frameAt(n));
        const tail = user.length - elidedAt;
        assert.equal(user.length + elided, depth);
        assert.deepEqual([...user], elided > 0 ? [...all.slice(0, elidedAt), ...all.slice(depth - tail)] : all);
        if (elided > 0) assert.deepEqual([user.length, tail], [maxFrames, Math.floor(maxFrames / 2)]);
      }),
    );
  });
});
