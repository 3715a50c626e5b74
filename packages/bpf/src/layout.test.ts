// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { enums, limits, outcomes, reasons, structs } from './layout.gen.ts';

/** Bytes of a type as the layout names it. */
function sizeOf(type: string): number {
  const [, element, length] = /^(\w+?)(?:\[(\d+)\])?$/.exec(type)!;
  const scalar = /^[us](8|16|32|64)$/.exec(element);
  const size = element === 'char' ? 1 : scalar ? Number(scalar[1]) / 8 : structs[element as keyof typeof structs].size;
  return size * Number(length ?? 1);
}

describe('layout', () => {
  for (const [name, { size, offsets, types }] of Object.entries(structs)) {
    test(`struct ${name} has no padding`, () => {
      let end = 0;
      for (const [field, offset] of Object.entries(offsets)) {
        assert.equal(offset, end, field);
        end += sizeOf((types as Record<string, string>)[field]);
      }
      assert.equal(end, size);
    });
  }

  test('reasons: one number and one name each, an outcome that exists, below the size of the counters', () => {
    assert.equal(new Set(reasons.map(({ number }) => number)).size, reasons.length);
    assert.equal(new Set(reasons.map(({ name }) => name)).size, reasons.length);
    for (const { number, name, outcome, sentence } of reasons) {
      assert.match(name, /^[a-z][a-z0-9_]*$/);
      assert.ok(
        outcomes.some((known) => known.name === outcome),
        name,
      );
      assert.ok(number < limits.REASON_MAX);
      assert.ok(sentence.length > 10);
      assert.equal((enums.reason as Record<string, number>)[`REASON_${name}`], number);
    }
    assert.equal(Object.keys(enums.reason).length, reasons.length);
  });

  test('docs/reasons.md has each reason and no other', () => {
    const page = readFileSync(join(import.meta.dirname, '../../../docs/reasons.md'), 'utf8');
    const rows = Array.from(
      page.matchAll(/^\| (\d+) \| `(\w+)` \| (\w+) \| (.*) \|$/gm),
      ([, number, name, outcome, sentence]) => ({
        number: Number(number),
        name,
        outcome,
        sentence,
      }),
    );
    assert.deepEqual(
      rows,
      reasons.map((reason) => ({ ...reason })),
    );
  });
});
