// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { enums, limits, structs } from '@plumbline/bpf';
import * as encode from './encode.ts';
import * as row from './row.ts';

describe('the form of unwind tables', () => {
  it('has the numbers of the kernel side', () => {
    for (const [name, value] of Object.entries(row)) {
      if (name.startsWith('RULE_') && name !== 'RULE_SIZE') {
        assert.equal(value, enums.rule_kind[name as keyof typeof enums.rule_kind], name);
      }
      if (name.startsWith('REG_') && name !== 'REG_RA')
        assert.equal(value, enums.reg[name as keyof typeof enums.reg], name);
      if (/^(SAVED_LOST|RBP_|DEREF_)/.test(name)) assert.equal(value, limits[name as keyof typeof limits], name);
    }
    for (const name of Object.keys(enums.rule_kind)) assert.ok(name in row, name);
    assert.equal(encode.BLOCK_SHIFT, limits.UNWIND_BLOCK_SHIFT);
    assert.equal(encode.BLOCK_SIZE, limits.UNWIND_BLOCK);
    assert.ok(encode.MAX_SEGMENT_BYTES <= limits.SHARD_SIZE);
  });

  it('has the layout of struct unwind_rule', () => {
    const { size, offsets, types } = structs.unwind_rule;
    assert.equal(size, row.RULE_SIZE);
    const rule = {
      kind: 5,
      base: 6,
      cfaOffset: -70_000,
      rbpOffset: -32_767,
      saved: [-1, -2, -3, -4, -5],
      raOffset: -6,
      aux: -777,
    };
    const rules = new row.RuleSet();
    const words = new Int32Array(4);
    rules.copyTo(rules.internRule(rule), words, 0);
    const view = new DataView(words.buffer);
    const read = { s8: view.getInt8, u8: view.getUint8, s16: view.getInt16, s32: view.getInt32 };
    const field = (name: keyof typeof offsets, at = 0) =>
      read[types[name].replace(/\[.*/, '') as keyof typeof read].call(view, offsets[name] + at, true);
    assert.deepEqual(
      [field('kind'), field('base'), field('cfa_offset'), field('rbp_offset'), field('ra_offset'), field('aux')],
      [rule.kind, rule.base, rule.cfaOffset, rule.rbpOffset, rule.raOffset, rule.aux],
    );
    assert.deepEqual(
      [0, 1, 2, 3, 4].map((i) => field('saved', i)),
      rule.saved,
    );
  });
});
