// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { fuzzRounds, fuzzSeed, mutations } from '../test/mutate.ts';
import { decodeSideBand, decodeSideBandBatch } from './side-band.ts';

const u32 = fc.integer({ min: 0, max: 0xffffffff });
const u64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
const text = fc.string({ maxLength: 60 }).filter((string) => !string.includes('\0') && string.isWellFormed());
const written = { pid: 4, tid: 5, time: 123_456_789_012_345n, cpu: 3 };

/** Bytes of a record, laid out as perf_event_open(2) says. */
function encode(type: number, misc: number, body: Buffer, writer = written): Buffer {
  const trailer = Buffer.alloc(24);
  trailer.writeUInt32LE(writer.pid, 0);
  trailer.writeUInt32LE(writer.tid, 4);
  trailer.writeBigUInt64LE(writer.time, 8);
  trailer.writeUInt32LE(writer.cpu, 16);
  const header = Buffer.alloc(8);
  header.writeUInt32LE(type, 0);
  header.writeUInt16LE(misc, 4);
  header.writeUInt16LE(8 + body.length + 24, 6);
  return Buffer.concat([header, body, trailer]);
}

const words32 = (...words: number[]) => Buffer.from(Uint32Array.from(words).buffer);
const words64 = (...words: bigint[]) => Buffer.from(BigUint64Array.from(words).buffer);

/** A string as perf pads it: at least one zero, to a multiple of 8. */
function padded(string: string): Buffer {
  const bytes = Buffer.from(string);
  return Buffer.concat([bytes, Buffer.alloc(8 - (bytes.length % 8))]);
}

const decode = (record: Buffer) => decodeSideBand(record, 0, record.length);

/** One of each type. */
const samples = [
  encode(
    10,
    2,
    Buffer.concat([
      words32(7, 8),
      words64(0x7f00_0000_1000n, 0x2000n, 0x3000n),
      words32(254, 1),
      words64(99n, 5n),
      words32(5, 2),
      padded('/usr/lib/libc.so.6'),
    ]),
  ),
  encode(3, 1 << 13, Buffer.concat([words32(7, 8), padded('node')])),
  encode(3, 0, Buffer.concat([words32(7, 8), padded('worker')])),
  encode(7, 0, Buffer.concat([words32(10, 1, 10, 1), words64(77n)])),
  encode(4, 0, Buffer.concat([words32(10, 1, 11, 1), words64(77n)])),
  encode(2, 0, words64(1n, 40n)),
  encode(17, 0, words64(0n, 0n)),
];

describe('decodeSideBand', () => {
  test('reads each type', () => {
    assert.deepEqual(samples.map(decode), [
      {
        type: 'mapping',
        ...written,
        pid: 7,
        tid: 8,
        start: 0x7f00_0000_1000n,
        end: 0x7f00_0000_3000n,
        fileOffset: 0x3000n,
        deviceMajor: 254,
        deviceMinor: 1,
        inode: 99n,
        inodeGeneration: 5n,
        protection: 5,
        flags: 2,
        file: '/usr/lib/libc.so.6',
      },
      { type: 'exec', ...written, pid: 7, tid: 8, name: 'node' },
      { type: 'rename', ...written, pid: 7, tid: 8, name: 'worker' },
      { type: 'fork', ...written, childPid: 10, parentPid: 1, childTid: 10, parentTid: 1 },
      { type: 'exit', ...written, exitPid: 10, exitTid: 11 },
      { type: 'lost', ...written, records: 40n },
      { type: 'other', ...written, number: 17 },
    ]);
  });

  test('mappings of all kinds keep their numbers and names', () => {
    const mapping = fc.record({ pid: u32, tid: u32, start: u64, length: u64, offset: u64, inode: u64, file: text });
    fc.assert(
      fc.property(mapping, ({ pid, tid, start, length, offset, inode, file }) => {
        const body = Buffer.concat([
          words32(pid, tid),
          words64(start, length, offset),
          words32(1, 2),
          words64(inode, 0n),
          words32(4, 1),
          padded(file),
        ]);
        const record = decode(encode(10, 0, body));
        assert.ok(record.type === 'mapping');
        assert.deepEqual(
          [record.pid, record.tid, record.start, record.end, record.fileOffset, record.inode, record.file],
          [pid, tid, start, BigInt.asUintN(64, start + length), offset, inode, file],
        );
      }),
      { seed: fuzzSeed },
    );
  });

  test('a mapping by build id has no device and no inode', () => {
    const body = Buffer.concat([
      words32(7, 8),
      words64(1n, 2n, 3n),
      words32(0x14, 0xabcdef),
      words64(99n, 5n),
      words32(5, 2),
      padded('/bin/x'),
    ]);
    const record = decode(encode(10, 1 << 14, body));
    assert.ok(record.type === 'mapping');
    assert.deepEqual([record.deviceMajor, record.deviceMinor, record.inode, record.file], [0, 0, 0n, '/bin/x']);
  });

  test('a name fills its room to the last byte, or is not text', () => {
    const name = Buffer.from('12345678');
    assert.equal((decode(encode(3, 0, Buffer.concat([words32(1, 1), name]))) as { name: string }).name, '12345678');
    const broken = Buffer.from([0xff, 0xfe, 0x41, 0, 0, 0, 0, 0]);
    assert.equal((decode(encode(3, 0, Buffer.concat([words32(1, 1), broken]))) as { name: string }).name, '��A');
  });

  test('what is cut off is malformed, and says so', () => {
    for (const sample of samples) {
      for (let end = 0; end < sample.length; end++) assert.equal(decodeSideBand(sample, 0, end).type, 'malformed');
      const short = Buffer.from(sample);
      short.writeUInt16LE(8 + 23, 6);
      assert.equal(decode(short).type, 'malformed');
    }
    assert.equal(decodeSideBand(samples[0], 0, samples[0].length + 1).type, 'malformed');
    const noBody = encode(10, 0, words64(0n));
    assert.deepEqual(decode(noBody), { type: 'malformed', reason: 'type 10 is cut off at 40 bytes' });
  });

  test('a batch is decoded record by record', () => {
    const records = Buffer.concat(samples);
    const offsets = new Uint32Array(samples.length + 1);
    samples.forEach((sample, index) => {
      offsets[index + 1] = offsets[index] + sample.length;
    });
    const batch = {
      kind: 'sideBand',
      records,
      view: new DataView(records.buffer),
      offsets,
      count: samples.length,
    } as const;
    assert.deepEqual([...decodeSideBandBatch(batch)], samples.map(decode));
  });

  test(`mutations never throw, and never read beyond the end (seed ${fuzzSeed})`, () => {
    const guard = Buffer.alloc(64, 0x5a); // behind the record: must not show up in it
    for (const sample of samples) {
      for (const mutation of mutations(sample, fuzzRounds(3000))) {
        const record = decodeSideBand(Buffer.concat([mutation, guard]), 0, mutation.length);
        const name = 'file' in record ? record.file : 'name' in record ? record.name : '';
        assert.ok(!name.includes('ZZZZ'));
        assert.ok(Buffer.byteLength(name) <= mutation.length * 3); // an invalid byte becomes three
      }
    }
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(250), fc.nat(250), (bytes, start, end) => {
        decodeSideBand(Buffer.from(bytes), start, end);
      }),
      { seed: fuzzSeed },
    );
  });
});
