// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { BLOCK_SIZE, SegmentEncoder } from './encode.ts';
import { eachRow, findRule } from './lookup.ts';
import { RULE_CFA, RuleSet, ruleOfKind } from './row.ts';

const START = 0x40_1234;

/** Rule number n has CFA offset n. */
function ruleSet(count: number): RuleSet {
  const rules = new RuleSet();
  for (let i = 0; i < count; i++) assert.equal(rules.internRule({ ...ruleOfKind(RULE_CFA), cfaOffset: i }), i);
  return rules;
}

describe('SegmentEncoder', () => {
  const steps = fc.array(
    fc.tuple(fc.oneof(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1, max: 5000 })), fc.nat(40)),
    {
      minLength: 1,
      maxLength: 300,
    },
  );

  it('gives back at every address the rule of the last row before it, in segments within the limit', () => {
    fc.assert(
      fc.property(steps, fc.constantFrom(256, 512, 1024, 1 << 20), (list, limit) => {
        const encoder = new SegmentEncoder(ruleSet(41), limit);
        encoder.begin(START);
        const expected: [address: number, rule: number][] = [];
        let address = START;
        for (const [length, rule] of list) {
          encoder.add(address, rule);
          expected.push([address, rule]);
          address += length;
        }
        encoder.end(address);
        const table = { segments: encoder.segments };
        let end = START;
        for (const segment of table.segments) {
          assert.equal(segment.textStart, end, 'segments follow each other');
          end = segment.textEnd;
          assert.equal(segment.index.length, Math.ceil((segment.textEnd - segment.textStart) / BLOCK_SIZE) + 1);
          assert.equal(segment.index[0], 0);
          assert.equal(segment.index.at(-1), segment.rows.length);
          assert.equal(segment.rows[0] >>> 16, 0, 'a row at the first byte');
          const bytes = segment.index.byteLength + segment.rows.byteLength + segment.rules.byteLength;
          assert.equal(segment.byteLength, bytes);
          assert.ok(bytes <= limit);
        }
        assert.equal(end, address);
        for (const [i, [from, rule]] of expected.entries()) {
          const to = expected[i + 1]?.[0] ?? address;
          for (const at of [from, from + Math.floor((to - from) / 2), to - 1])
            assert.equal(findRule(table, at)!.cfaOffset, rule);
        }
        assert.equal(findRule(table, START - 1), undefined);
        assert.equal(findRule(table, address), undefined);
      }),
      { numRuns: 300 },
    );
  });

  it('drops rows that say the same as the one before', () => {
    const encoder = new SegmentEncoder(ruleSet(2));
    encoder.begin(0);
    for (const [address, rule] of [[0, 0], [10, 0], [20, 1], [30, 1], [40, 0]]) encoder.add(address, rule); // biome-ignore format: pairs
    encoder.end(50);
    const rows: number[][] = [];
    eachRow(encoder.segments[0], (...row) => void rows.push(row));
    assert.deepEqual(rows, [[0, 0], [20, 1], [40, 0]]); // biome-ignore format: pairs
  });

  it('takes the last of the rules at one address', () => {
    const encoder = new SegmentEncoder(ruleSet(3));
    encoder.begin(0);
    for (const [address, rule] of [[0, 0], [130, 1], [130, 2], [140, 0]]) encoder.add(address, rule); // biome-ignore format: pairs
    encoder.end(200);
    const rows: number[] = [];
    eachRow(encoder.segments[0], (address) => void rows.push(address));
    assert.deepEqual(rows, [0, 130, 140]);
    assert.deepEqual(
      [129, 130, 140].map((at) => findRule(encoder, at)!.cfaOffset),
      [0, 2, 0],
    );
  });

  it('covers text without rows beyond what one index can hold', () => {
    const encoder = new SegmentEncoder(ruleSet(3), 1024);
    encoder.begin(0);
    encoder.add(0, 2);
    encoder.end(1_000_000);
    assert.ok(encoder.segments.length > 30);
    assert.equal(findRule(encoder, 999_999)!.cfaOffset, 2);
  });

  it('numbers the rules of each segment anew', () => {
    const encoder = new SegmentEncoder(ruleSet(3000), 4096);
    encoder.begin(0);
    for (let i = 0; i < 3000; i++) encoder.add(i * 3, i);
    encoder.end(9000);
    for (let i = 0; i < 3000; i++) assert.equal(findRule(encoder, i * 3 + 2)!.cfaOffset, i);
  });
});

describe('RuleSet', () => {
  const int = (bits: number) => fc.integer({ min: -(2 ** (bits - 1)), max: 2 ** (bits - 1) - 1 });

  it('gives equal rules equal numbers, and rules back as they were', () => {
    const rule = fc.record({
      kind: fc.nat(10),
      base: fc.nat(15),
      cfaOffset: int(32),
      rbpOffset: int(16),
      saved: fc.array(int(8), { minLength: 5, maxLength: 5 }),
      raOffset: int(8),
      aux: int(16),
    });
    fc.assert(
      fc.property(fc.array(rule, { minLength: 1, maxLength: 2000 }), (list) => {
        const rules = new RuleSet();
        const numbers = list.map((r) => rules.internRule(r));
        for (const [i, r] of list.entries()) {
          assert.deepEqual(rules.rule(numbers[i]), { ...r });
          assert.equal(rules.internRule(r), numbers[i]);
          assert.equal(rules.kind(numbers[i]), r.kind);
          assert.equal(rules.base(numbers[i]), r.base);
        }
        assert.equal(rules.count, new Set(list.map((r) => JSON.stringify(r, Object.keys(r).sort()))).size);
      }),
      { numRuns: 50 },
    );
  });
});
