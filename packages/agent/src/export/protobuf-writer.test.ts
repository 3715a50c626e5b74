// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import protobuf from 'protobufjs';
import { ProtobufWriter } from './protobuf-writer.ts';

const schema = `syntax = "proto3";
message Inner { uint64 n = 1; repeated int32 packed = 2; }
message All {
  uint32 small = 1; int64 wide = 2; fixed64 fixed = 3; string text = 4; bytes raw = 5; bool flag = 6;
  repeated Inner inner = 17; repeated string texts = 18; repeated fixed64 times = 19; uint64 halves = 3000;
}`;
const All = protobuf.parse(schema).root.lookupType('All');

test('what it writes, protobufjs reads', () => {
  const uint = fc.oneof(fc.constantFrom(0, 1, 127, 128, 16383, 16384, 2 ** 31, 2 ** 32, 2 ** 53 - 1), fc.maxSafeNat());
  const u64 = fc.bigInt({ min: 0n, max: (1n << 64n) - 1n });
  const message = fc.record({
    small: fc.nat({ max: 0xffff_ffff }),
    wide: fc.bigInt({ min: -(1n << 63n), max: (1n << 63n) - 1n }),
    fixed: u64,
    text: fc.string({ unit: 'binary' }),
    raw: fc.uint8Array(),
    flag: fc.boolean(),
    inner: fc.array(fc.record({ n: uint, packed: fc.array(fc.nat()) }), { maxLength: 4 }),
    texts: fc.array(fc.string({ unit: 'grapheme' }), { maxLength: 4 }),
    times: fc.array(u64, { maxLength: 4 }),
    halves: u64,
  });
  fc.assert(
    fc.property(message, fc.integer({ min: 0, max: 64 }), (m, capacity) => {
      const writer = new ProtobufWriter(capacity);
      writer.uint64(3000, Number(m.halves & 0xffff_ffffn), Number(m.halves >> 32n));
      const times = writer.length;
      for (const time of m.times.toReversed()) writer.fixed64Value(time);
      writer.packed(19, times);
      for (const text of m.texts.toReversed()) writer.stringElement(18, text);
      for (const inner of m.inner.toReversed()) {
        const end = writer.length;
        const packed = writer.length;
        for (const value of inner.packed.toReversed()) writer.varint(value);
        writer.packed(2, packed);
        writer.uint(1, inner.n);
        writer.message(17, end);
      }
      writer.uint(6, m.flag ? 1 : 0);
      if (m.raw.length > 0) writer.bytes(5, m.raw);
      writer.string(4, m.text);
      writer.fixed64(3, m.fixed);
      writer.int64(2, m.wide);
      writer.uint(1, m.small);

      const bytes = writer.finish();
      const expected = All.encode(
        All.fromObject({
          ...m,
          wide: m.wide.toString(),
          fixed: m.fixed.toString(),
          halves: m.halves.toString(),
          times: m.times.map(String),
        }),
      ).finish();
      // protobufjs writes zero values of proto3 fields that were set; compare what is read.
      const plain = (b: Uint8Array) => All.toObject(All.decode(b), { longs: String, bytes: String, defaults: true });
      assert.deepEqual(plain(bytes), plain(expected));
    }),
    { numRuns: 300 },
  );
});

test('a field method leaves zero out, an element method does not', () => {
  const writer = new ProtobufWriter(0);
  writer.uint(1, 0);
  writer.int64(2, 0n);
  writer.fixed64(3, 0n);
  writer.string(4, '');
  writer.packed(5, writer.length);
  assert.equal(writer.length, 0);
  writer.stringElement(4, '');
  assert.deepEqual([...writer.finish()], [0x22, 0]);
});
