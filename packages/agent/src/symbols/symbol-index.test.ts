// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { findSymbol, NO_SYMBOL, SymbolIndexBuilder, type SymbolRange } from './symbol-index.ts';

const BASE = 0x1000;
const END = 120;

function build(symbols: SymbolRange[]) {
  const builder = new SymbolIndexBuilder(BASE);
  for (const symbol of symbols) builder.add(symbol);
  return builder.build(
    () => BASE + END,
    (a, b) => a < b,
  );
}

const symbol = (address: number, size: number, name: number, more: Partial<SymbolRange> = {}): SymbolRange => ({
  address: BASE + address,
  size,
  name,
  rank: 0,
  isLabel: false,
  ...more,
});

function namesAt(symbols: SymbolRange[], ...offsets: number[]): number[] {
  const index = build(symbols);
  return offsets.map((offset) => findSymbol(index, BASE + offset));
}

test('a symbol holds for its size, and nothing holds between symbols', () => {
  assert.deepEqual(
    namesAt([symbol(10, 5, 1), symbol(20, 5, 2)], 9, 10, 14, 15, 19, 20, 24, 25),
    [0, 1, 1, 0, 0, 2, 2, 0],
  );
  assert.deepEqual(namesAt([], 0, 50), [0, 0]);
});

test('a symbol inside of another hides it only there', () => {
  const nested = [symbol(0, 100, 1), symbol(20, 10, 2), symbol(25, 2, 3)];
  assert.deepEqual(namesAt(nested, 0, 19, 20, 24, 25, 26, 27, 29, 30, 99, 100), [1, 1, 2, 2, 3, 3, 2, 2, 1, 1, 0]);
});

test('of symbols that overlap, the one that began last holds', () => {
  assert.deepEqual(namesAt([symbol(0, 20, 1), symbol(10, 20, 2)], 9, 10, 20, 29, 30), [1, 2, 2, 2, 0]);
});

test('without a size a symbol reaches to the next, to the end of the code around it, or to the end of the section', () => {
  assert.deepEqual(
    namesAt([symbol(0, 0, 1), symbol(10, 4, 2), symbol(30, 0, 3)], 9, 10, 14, 30, 119, 120),
    [1, 2, 0, 3, 3, 0],
  );
  assert.deepEqual(namesAt([symbol(0, 20, 1), symbol(10, 0, 2)], 10, 19, 20), [2, 2, 0]);
});

test('of aliases: a function before a label, then with size, then by rank, then as the caller prefers', () => {
  const at = (...symbols: SymbolRange[]) => namesAt(symbols, 5)[0];
  assert.equal(at(symbol(0, 10, 1, { isLabel: true, rank: 9 }), symbol(0, 0, 2)), 2);
  assert.equal(at(symbol(0, 0, 1, { rank: 2 }), symbol(0, 10, 2)), 2);
  assert.equal(at(symbol(0, 10, 1), symbol(0, 10, 2, { rank: 1 })), 2);
  assert.equal(at(symbol(0, 10, 2), symbol(0, 10, 1)), 1);
});

test('a label inside of a function does not hide it', () => {
  const label = { isLabel: true };
  assert.deepEqual(namesAt([symbol(0, 20, 1), symbol(10, 0, 2, label), symbol(30, 0, 3, label)], 10, 30), [1, 3]);
});

test('symbols below the base or too far above it are left out', () => {
  const index = build([symbol(-1, 10, 1), symbol(2 ** 32, 10, 2), symbol(5, 2 ** 40, 3)]);
  assert.equal(findSymbol(index, BASE - 1), NO_SYMBOL);
  assert.equal(findSymbol(index, BASE), NO_SYMBOL);
  assert.equal(findSymbol(index, BASE + 2 ** 32 - 2), 3);
  assert.equal(findSymbol(index, BASE + 2 ** 33), NO_SYMBOL);
});

test('it agrees with a search through all symbols', () => {
  const range = fc.record({ offset: fc.nat({ max: 100 }), size: fc.integer({ min: 1, max: 30 }) });
  fc.assert(
    fc.property(fc.uniqueArray(range, { selector: (r) => r.offset, maxLength: 30 }), (ranges) => {
      const symbols = ranges.map(({ offset, size }, i) => symbol(offset, size, i + 1));
      const index = build(symbols);
      for (let address = BASE; address < BASE + 140; address++) {
        const holding = symbols.filter((s) => s.address <= address && address < s.address + s.size);
        const latest = holding.sort((a, b) => b.address - a.address)[0];
        assert.equal(findSymbol(index, address), latest?.name ?? NO_SYMBOL, `at ${address - BASE}`);
      }
      assert.ok(index.starts.every((start, i) => i === 0 || start > index.starts[i - 1]));
    }),
    { numRuns: 300 },
  );
});

test('symbols more than fit the fast sort are sorted too', () => {
  const builder = new SymbolIndexBuilder(0);
  const count = (1 << 21) + 3;
  for (let i = count - 1; i >= 0; i--)
    builder.add({ address: i * 16, size: 16, name: (i % 7) + 1 + 7 * (i & 1), rank: 0, isLabel: false });
  const index = builder.build(
    () => 0,
    () => false,
  );
  for (const i of [0, 1, 12_345, count - 1]) assert.equal(findSymbol(index, i * 16 + 15), (i % 7) + 1 + 7 * (i & 1));
  assert.equal(findSymbol(index, count * 16), NO_SYMBOL);
});
