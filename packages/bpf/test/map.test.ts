// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { BpfMap, BpfObject, MAP_FLAGS, type MapType } from '../src/index.ts';
import { needsBpf, testObject } from './kernel.ts';

const u32 = (...values: number[]) => Uint32Array.from(values);
const word = (value: number) => Buffer.from(Uint32Array.of(value).buffer);

describe('BpfMap', needsBpf(), () => {
  function using<T>(options: Parameters<typeof BpfMap.create>[0], use: (map: BpfMap) => T): T {
    const map = BpfMap.create(options);
    try {
      return use(map);
    } finally {
      map.close();
    }
  }

  for (const type of ['hash', 'lruHash'] as MapType[]) {
    test(`${type}: entries come and go`, () => {
      using({ type, keySize: 4, valueSize: 8, maxEntries: 100, name: 'ages' }, (map) => {
        assert.equal(map.name, 'ages');
        assert.equal(map.lookup(7), undefined);
        map.update(7, 70n);
        assert.equal(map.lookup(7)!.readBigUInt64LE(), 70n);
        assert.throws(() => map.update(7, 1, 'create'), { code: 'EEXIST' });
        assert.throws(() => map.update(8, 1, 'replace'), { code: 'ENOENT' });
        assert.equal(map.delete(7), true);
        assert.equal(map.delete(7), false);
        map.update(1, 10);
        map.update(2, 20);
        assert.deepEqual(
          new Map([...map.entries()].map(({ key, value }) => [key.readUInt32LE(), value.readBigUInt64LE()])),
          new Map([
            [1, 10n],
            [2, 20n],
          ]),
        );
        map.clear();
        assert.equal([...map.entries()].length, 0);
      });
    });
  }

  test('batches hold what was written, whatever their size, and can be taken out', () => {
    using({ type: 'hash', keySize: 4, valueSize: 4, maxEntries: 20_000 }, (map) => {
      const keys = Uint32Array.from({ length: 10_000 }, (_, i) => i * 3);
      const values = keys.map((key) => key + 1);
      map.updateBatch(keys, values, keys.length);
      assert.equal(map.hasBatches(), true);
      for (const size of [7, 4096, 10_000]) {
        const seen = new Map<number, number>();
        for (const batch of map.readBatches(size)) {
          for (let i = 0; i < batch.count; i++)
            seen.set(batch.keys.readUInt32LE(i * 4), batch.values.readUInt32LE(i * 4));
        }
        assert.equal(seen.size, keys.length);
        for (const key of keys) assert.equal(seen.get(key), key + 1);
      }
      let taken = 0;
      for (const batch of map.readBatches(1000, { remove: true })) taken += batch.count;
      assert.equal(taken, keys.length);
      assert.equal([...map.entries()].length, 0);
      assert.throws(() => map.updateBatch(keys, values, 20_001), { name: 'RangeError', message: /fewer than 20001/ });
    });
  });

  test('a map that is full says so, and keeps what fitted', () => {
    using({ type: 'hash', keySize: 4, valueSize: 4, maxEntries: 4 }, (map) => {
      assert.throws(() => map.updateBatch(u32(1, 2, 3, 4, 5), u32(1, 2, 3, 4, 5), 5), { code: 'E2BIG' });
      assert.equal([...map.entries()].length, 4);
    });
  });

  test('where the kernel has no batches entries are written and read one by one', () => {
    const object = BpfObject.open(testObject('ring'));
    object.setAutoload('from_the_future', false);
    object.load();
    const programs = object.map('programs');
    const { fd } = object.program('produce');
    programs.updateBatch(u32(0, 2), u32(fd, fd), 2);
    programs.updateBatch(u32(1), u32(fd), 1);
    assert.equal(programs.hasBatches(), false);
    assert.deepEqual(
      [...programs.entries()].map(({ key }) => key.readUInt32LE()),
      [0, 1, 2],
    );
    assert.equal(programs.delete(1), true);
    programs.update(3, object.program('produce'));
    assert.equal(
      [...programs.readBatches(2)].reduce((sum, batch) => sum + batch.count, 0),
      3,
    );
    object.close();
  });

  test('array: lookup, batches, clear', () => {
    using({ type: 'array', keySize: 4, valueSize: 12, maxEntries: 5000 }, (map) => {
      map.update(4999, Buffer.from('twelve bytes'));
      assert.equal(String(map.lookup(4999)), 'twelve bytes');
      assert.equal([...map.entries()].length, 5000);
      assert.throws(() => map.update(5000, Buffer.alloc(12)), { code: 'E2BIG' });
      map.clear();
      assert.deepEqual(map.lookup(4999), Buffer.alloc(12));
      assert.throws(() => [...map.readBatches(10, { remove: true })], { name: 'TypeError' });
    });
  });

  test('per-CPU values are told apart', () => {
    using({ type: 'perCpuArray', keySize: 4, valueSize: 4, maxEntries: 2 }, (map) => {
      assert.throws(() => map.lookup(0), { name: 'TypeError', message: /lookupPerCpu/ });
      const cpus = map.valueStride / 8;
      const values = Buffer.alloc(map.valueStride);
      for (let cpu = 0; cpu < cpus; cpu++) values.writeUInt32LE(cpu + 100, cpu * 8);
      map.update(1, values);
      assert.deepEqual(
        map.lookupPerCpu(1)!.map((value) => value.readUInt32LE()),
        Array.from({ length: cpus }, (_, cpu) => cpu + 100),
      );
    });
    using({ type: 'hash', keySize: 4, valueSize: 4, maxEntries: 2 }, (map) => {
      assert.throws(() => map.lookupPerCpu(0), { name: 'TypeError' });
    });
  });

  test('an array of maps holds maps', () => {
    const shape = { type: 'array', keySize: 4, valueSize: 64, maxEntries: 1, flags: MAP_FLAGS.mmapable } as const;
    using(shape, (inner) => {
      using({ type: 'arrayOfMaps', keySize: 4, valueSize: 4, maxEntries: 3, innerMap: inner }, (outer) => {
        outer.update(2, inner);
        assert.equal(outer.lookup(2)!.readUInt32LE(), inner.info.id);
        inner.write(8, Buffer.from('hello'));
        assert.equal(String(inner.lookup(0)!.subarray(8, 13)), 'hello');
        assert.equal(outer.delete(2), true);
      });
      assert.throws(() => inner.update(0, inner), { name: 'TypeError' });
    });
  });

  const memory = { type: 'array', keySize: 4, valueSize: 1 << 20, maxEntries: 3, flags: MAP_FLAGS.mmapable } as const;

  test('memory of a map: what is written is what is read, at any offset', () => {
    using(memory, (map) => {
      const model = Buffer.alloc(map.memorySize);
      const range = fc.record({ offset: fc.nat(map.memorySize), bytes: fc.uint8Array({ maxLength: 10_000 }) });
      fc.assert(
        fc.property(range, ({ offset, bytes }) => {
          if (offset + bytes.length > map.memorySize) {
            assert.throws(() => map.write(offset, bytes), RangeError);
            return;
          }
          map.write(offset, bytes);
          model.set(bytes, offset);
          assert.deepEqual(map.read(offset, bytes.length), Buffer.from(bytes));
        }),
        { numRuns: 200, seed: 7 },
      );
      assert.equal(Buffer.compare(map.read(0, map.memorySize), model), 0);
      assert.equal(Buffer.compare(map.lookup(1)!, model.subarray(1 << 20, 2 << 20)), 0);
      // Nothing stays mapped.
      assert.doesNotMatch(readFileSync('/proc/self/maps', 'utf8'), /bpf-map/);
    });
  });

  test('a view shares the memory until it is given back', () => {
    const map = BpfMap.create(memory);
    const view = map.mmap();
    assert.ok(view.byteLength >= map.memorySize);
    new Uint8Array(view)[5] = 77;
    assert.equal(map.read(5, 1)[0], 77);
    map.write(6, Buffer.of(78));
    assert.equal(new Uint8Array(view)[6], 78);
    map.munmap(view);
    assert.equal(view.byteLength, 0);
    assert.throws(() => map.munmap(view), { name: 'TypeError' });
    const other = map.mmap();
    map.close();
    assert.equal(other.byteLength, 0);
    assert.throws(() => map.lookup(0), { code: 'EBADF' });
  });

  test('mistakes are told before the kernel sees them', () => {
    assert.throws(() => BpfMap.create({ type: 'list' as never, keySize: 4, valueSize: 4, maxEntries: 1 }), {
      name: 'TypeError',
    });
    assert.throws(() => BpfMap.create({ type: 'hash', keySize: -4, valueSize: 4, maxEntries: 1 }), {
      name: 'RangeError',
    });
    assert.throws(
      () => BpfMap.create({ type: 'hash', keySize: 4, valueSize: 4, maxEntries: 1, name: 'a name with spaces' }),
      {
        name: 'RangeError',
      },
    );
    assert.throws(() => BpfMap.create({ type: 'array', keySize: 8, valueSize: 4, maxEntries: 1 }), {
      code: 'EINVAL',
      operation: 'create map',
    });
    using({ type: 'hash', keySize: 6, valueSize: 3, maxEntries: 1 }, (map) => {
      assert.throws(() => map.lookup(5), { name: 'RangeError', message: /6 bytes long: give it as bytes/ });
      assert.throws(() => map.lookup(word(5)), { name: 'RangeError', message: /6 bytes long, not 4/ });
      assert.throws(() => map.lookup('abc' as never), { name: 'TypeError' });
      assert.throws(() => map.update(Buffer.alloc(6), Buffer.alloc(4)), { name: 'RangeError' });
      assert.throws(() => map.write(0, Buffer.alloc(1)), { name: 'TypeError', message: /not mmap-able/ });
    });
    using({ type: 'hash', keySize: 4, valueSize: 4, maxEntries: 1 }, (map) => {
      assert.throws(() => map.lookup(-(2 ** 31) - 1), { name: 'RangeError' });
      assert.throws(() => map.lookup(2n ** 32n), { name: 'RangeError' });
      assert.throws(() => map.lookup(0.5), { name: 'RangeError' });
    });
  });
});
