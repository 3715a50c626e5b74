// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { NO_ATTRIBUTES } from './attribute-table.ts';
import { FRAME_KINDS, type FrameHandle, type FrameRow, NO_FRAME } from './frame-table.ts';
import { NO_MAPPING } from './mapping-table.ts';
import { Profile } from './profile.ts';
import { EMPTY_STACK, StackTable } from './stack-table.ts';

test('equal stacks have equal handles, and a handle gives its frames back', () => {
  fc.assert(
    fc.property(fc.array(fc.array(fc.integer({ min: 1, max: 4 }), { maxLength: 8 }), { maxLength: 200 }), (lists) => {
      const table = new StackTable();
      const handles = new Map<string, number>();
      for (const frames of lists) {
        const handle = table.internLeafFirst(frames as never);
        assert.deepEqual([...table.leafFirst(handle)], frames);
        assert.equal(table.depth(handle), frames.length);
        const known = handles.get(frames.join());
        if (known !== undefined) assert.equal(handle, known);
        handles.set(frames.join(), handle);
      }
      assert.equal(new Set(handles.values()).size, handles.size);
    }),
  );
});

test('frames differ in every column, and none is lost when the tables grow', () => {
  const { frames } = new Profile({ startUnixNano: 0n });
  const small = fc.nat({ max: 2 });
  const row = fc.record({
    function: small,
    line: small,
    mapping: small,
    address: fc.oneof(small, fc.constantFrom(2 ** 32, 2 ** 53 - 1, 2n ** 64n - 1n, 1n, 0xffff_ffff_8100_0000n)),
    kind: fc.constantFrom(...FRAME_KINDS),
    inlinedInto: small,
  });
  const seen = new Map<string, { handle: number; row: FrameRow }>();
  fc.assert(
    fc.property(row, (r) => {
      const handle = frames.intern(r as never);
      const key = Object.values(r).join();
      assert.equal(seen.get(key)?.handle ?? handle, handle);
      seen.set(key, { handle, row: r as never });
    }),
    { numRuns: 5000 },
  );
  assert.equal(new Set([...seen.values()].map((s) => s.handle)).size, seen.size);
  assert.equal(frames.count, seen.size + 1);
  for (const { handle, row } of seen.values()) {
    const h = handle as never;
    assert.deepEqual(
      [frames.function(h), frames.line(h), frames.mapping(h), frames.address(h), frames.kind(h), frames.inlinedInto(h)],
      [row.function, row.line, row.mapping, BigInt(row.address), row.kind, row.inlinedInto],
    );
  }
});

test('samples with the same resource, stack and attributes are one row, in any order of attributes', () => {
  const profile = new Profile({ startUnixNano: 0n });
  const stack = profile.stacks.intern(EMPTY_STACK, profile.internSyntheticFrame('[idle]'));
  const resource = profile.attributes.internSet({ 'process.pid': 1 });
  const a = profile.addSample(resource, stack, { x: 'a', y: 2n, z: undefined }, 1, 10n);
  const b = profile.addSample(resource, stack, { y: 2, x: 'a' }, 4, 5n);
  const c = profile.addSample(resource, stack, { y: '2', x: 'a' }, 1, 7n);
  const d = profile.addSample(NO_ATTRIBUTES, stack, { y: 2, x: 'a' }, 1, 8n);
  assert.deepEqual([a, b, c, d], [0, 0, 1, 2]);
  assert.equal(profile.samples.value(a), 5);
  assert.deepEqual(profile.samples.observations(a), { times: [10n, 5n], values: [1, 4] });
  assert.deepEqual(profile.samples.observations(c), { times: [7n], values: [1] });
});

test('an attribute that is no safe integer is refused', () => {
  const { attributes } = new Profile({ startUnixNano: 0n });
  assert.throws(() => attributes.internSet({ a: 0.5 }), RangeError);
  assert.deepEqual([...attributes.entries(attributes.internSet({ big: 2n ** 62n }))], [['big', 2n ** 62n]]);
});

test('an inlined function keeps its caller at the same address', () => {
  const profile = new Profile({ startUnixNano: 0n });
  const frame = profile.internFrame('native', NO_MAPPING, 0x10, [
    { name: 'inner', line: 3 },
    { name: 'outer', line: 9 },
  ]);
  const outer = profile.frames.inlinedInto(frame);
  const name = (f: typeof frame) => profile.strings.get(profile.functions.name(profile.frames.function(f)));
  assert.deepEqual([name(frame), name(outer)], ['inner', 'outer']);
  assert.equal(profile.frames.inlinedInto(outer), NO_FRAME);
  assert.deepEqual(profile.frames.lines(frame), [frame, outer]);
  // The same function at the same address, not inlined, is another frame.
  assert.notEqual(profile.internFrame('native', NO_MAPPING, 0x10, [{ name: 'inner', line: 3 }]), frame);
});

test('outcomes are counted by reason', () => {
  const profile = new Profile({ startUnixNano: 0n });
  profile.countOutcome('truncated', 'no_mapping');
  profile.countOutcome('complete', 'root_entry', 5);
  profile.countOutcome('truncated', 'no_mapping', 2);
  assert.deepEqual(profile.outcomes, [
    { outcome: 'complete', reason: 'root_entry', count: 5 },
    { outcome: 'truncated', reason: 'no_mapping', count: 3 },
  ]);
});

test('stacks in tree order: whoever shares an outer part stands together', () => {
  fc.assert(
    fc.property(fc.array(fc.array(fc.integer({ min: 1, max: 3 }), { maxLength: 6 }), { maxLength: 30 }), (paths) => {
      const stacks = new StackTable();
      const handles = paths.map((path) => stacks.internLeafFirst(path as FrameHandle[]));
      const order = stacks.treeOrder();
      assert.deepEqual(
        [...order].sort((a, b) => a - b),
        [...order.keys()],
      );
      const sorted = [...new Set(handles)].sort((a, b) => order[a] - order[b]);
      const rootFirst = sorted.map((handle) => stacks.leafFirst(handle).reverse());
      // Between two stacks with a common beginning there is none without it.
      for (const [i, one] of rootFirst.entries())
        for (let length = 1; length <= one.length; length++) {
          const shares = rootFirst.map((other) => other.slice(0, length).join() === one.slice(0, length).join());
          assert.equal(shares.lastIndexOf(true) - shares.indexOf(true) + 1, shares.filter(Boolean).length, `${i}`);
        }
    }),
  );
});
