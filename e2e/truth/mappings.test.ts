// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { mappingOf, parseMaps } from './mappings.ts';

const TEXT = `00400000-00401000 r--p 00000000 fe:00 123                        /opt/with space/a
00401000-00402000 r-xp 00001000 fe:00 123                        /opt/with space/a (deleted)
7f0000000000-7f0000001000 rwxp 00000000 00:00 0 
7ffd00000000-7ffd00002000 r-xp 00000000 00:00 0                  [vdso]
`;

describe('parseMaps', () => {
  it('keeps what is executable', () => {
    assert.deepEqual(parseMaps(TEXT), [
      { start: 0x401000n, end: 0x402000n, offset: 0x1000n, path: '/opt/with space/a (deleted)' },
      { start: 0x7f0000000000n, end: 0x7f0000001000n, offset: 0n, path: '' },
      { start: 0x7ffd00000000n, end: 0x7ffd00002000n, offset: 0n, path: '[vdso]' },
    ]);
  });

  it('finds a mapping by address, its end excluded', () => {
    const mappings = parseMaps(TEXT);
    assert.equal(mappingOf(mappings, 0x401fffn), mappings[0]);
    assert.equal(mappingOf(mappings, 0x402000n), undefined);
    assert.equal(mappingOf(mappings, 0x400000n), undefined);
  });
});
