// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ReasonMoves } from './reason-moves.ts';

test('moves counts from one reason to another, and leaves out what has none', () => {
  const moves = new ReasonMoves();
  assert.deepEqual(moves.apply({ a: 2 }), { a: 2 });
  moves.move('a', 'recovered');
  assert.deepEqual(moves.apply({ a: 2, b: 1 }), { a: 1, b: 1, recovered: 1 });
  moves.move('a', 'recovered');
  assert.deepEqual(moves.apply({ a: 2 }), { recovered: 2 });
});

test('never changes the sum', () => {
  const name = fc.constantFrom('a', 'b', 'c', 'd');
  fc.assert(
    fc.property(fc.dictionary(name, fc.nat(50)), fc.array(fc.tuple(name, name)), (counts, steps) => {
      const moves = new ReasonMoves();
      for (const [from, to] of steps) moves.move(from, to);
      const sum = (of: Record<string, number>) => Object.values(of).reduce((a, b) => a + b, 0);
      assert.equal(sum(moves.apply(counts)), sum(counts));
    }),
  );
});
