// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { elfImage, symbolSections } from './elf-image.fixture.ts';
import { ElfError } from './errors.ts';
import { parseElf } from './file.ts';
import { bytesSource } from './source.ts';
import { readSymbols, STT_OBJECT, symbolName, symbolOrder } from './symbols.ts';

function read(sections: ReturnType<typeof symbolSections>, ...rest: [filter?: (type: number) => boolean]) {
  const source = bytesSource(elfImage({ sections }));
  return readSymbols(parseElf(source), source, 'symtab', ...rest);
}

describe('readSymbols', () => {
  const sections = symbolSections([
    { name: 'main', address: 0x2000, size: 16 },
    { name: 'data', address: 0x9000, size: 8, info: 0x11 },
    { name: 'start', address: 0x1000, size: 4, info: 0x02 },
    { name: 'elsewhere', address: 0, section: 0 },
    { name: 'ünïcode', address: 0x3000, info: 0x1a },
  ]);

  it('gives the defined functions, in the order of the file', () => {
    const table = read(sections);
    assert.deepEqual(
      Array.from({ length: table.count }, (_, i) => [symbolName(table, i), table.addresses[i], table.sizes[i]]),
      [
        ['main', 0x2000, 16],
        ['start', 0x1000, 4],
        ['ünïcode', 0x3000, 0],
      ].map(([name, ...rest]) => [name === 'ünïcode' ? Buffer.from('ünïcode', 'latin1').toString() : name, ...rest]),
    );
    assert.deepEqual([...symbolOrder(table)], [1, 0, 2]);
  });

  it('takes a filter', () => {
    const table = read(sections, (type) => type === STT_OBJECT);
    assert.equal(table.count, 1);
    assert.equal(symbolName(table, 0), 'data');
  });

  it('leaves out addresses that a number does not hold', () => {
    const [symtab, strtab] = symbolSections([
      { name: 'a', address: 1 },
      { name: 'b', address: 2 },
    ]);
    new DataView(symtab.bytes!.buffer).setBigUint64(24 + 8, 1n << 63n, true);
    assert.equal(read([symtab, strtab]).count, 1);
  });

  it('is empty without a table, and refuses one of another shape', () => {
    const source = bytesSource(elfImage({ sections: [] }));
    assert.equal(readSymbols(parseElf(source), source, 'dynsym').count, 0);
    const [symtab, strtab] = symbolSections([{ name: 'a', address: 1 }]);
    assert.throws(() => read([{ ...symtab, entrySize: 16 }, strtab]), ElfError);
  });
});
