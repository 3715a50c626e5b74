// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { buildFixtures } from '../fixtures/build.ts';
import { recipes } from '../fixtures/recipes.ts';
import { addressOfOffset, functionsAt, parseNm, parseSegments } from './elf-symbols.ts';

describe('parseNm', () => {
  it('keeps functions that have a size', () => {
    const text = `                 U printf
0000000000001000 T without_size
0000000000001010 0000000000000020 t shapes::leaf()
0000000000004000 0000000000000008 B counter
`;
    assert.deepEqual(parseNm(text), [{ start: 0x1010n, end: 0x1030n, name: 'shapes::leaf()' }]);
  });
});

describe('parseSegments', () => {
  it('reads what is loaded', () => {
    const text = `Program Headers:
  Type           Offset   VirtAddr           PhysAddr           FileSiz  MemSiz   Flg Align
  PHDR           0x000040 0x0000000000000040 0x0000000000000040 0x000310 0x000310 R   0x8
  LOAD           0x001000 0x0000000000401000 0x0000000000401000 0x000f05 0x000f05 R E 0x1000
`;
    assert.deepEqual(parseSegments(text), [{ offset: 0x1000n, address: 0x401000n, size: 0xf05n }]);
  });
});

describe('a real program', () => {
  it('has its entry point in _start, and nothing where no segment is', async () => {
    const directories = await buildFixtures(recipes.filter(({ name }) => name === 'recursion'));
    const file = join(directories.get('recursion')!, 'recursion');
    const entry = readFileSync(file).readBigUInt64LE(0x18); // e_entry; text of this layout: offset and address are equal
    assert.deepEqual(functionsAt(file, addressOfOffset(file, entry)!), ['_start']);
    assert.equal(addressOfOffset(file, 1n << 40n), undefined);
    assert.deepEqual(functionsAt(file, 1n << 40n), []);
  });
});
