// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parseGdb } from './gdb.ts';

describe('parseGdb', () => {
  it('reads stacks, and knows which frames were interrupted', () => {
    const stacks = parseGdb(`warning: something
@stack 7 
@frame 1000 0 leaf
@frame 1010 0 handle
@frame 7f10 4 <signal handler called>
@frame 1020 0 interrupted
@frame 1030 0 
@stack 8 previous frame identical to this frame (corrupt stack?)
@frame 2000 0 std::vector<int>::at
@frame 0 0 
`);
    assert.deepEqual(stacks, [
      {
        tid: 7,
        gaveUp: undefined,
        frames: [
          { address: 0x1000n, exact: true, name: 'leaf' },
          { address: 0x1010n, exact: false, name: 'handle' },
          { address: 0x7f10n, exact: true, name: '<signal handler called>' },
          { address: 0x1020n, exact: true, name: 'interrupted' },
          { address: 0x1030n, exact: false, name: undefined },
        ],
      },
      {
        tid: 8,
        gaveUp: 'previous frame identical to this frame (corrupt stack?)',
        frames: [{ address: 0x2000n, exact: true, name: 'std::vector<int>::at' }],
      },
    ]);
  });

  it('finds nothing in what is not its output', () => {
    assert.deepEqual(parseGdb('@frame 10 0 early\nno symbol table'), []);
  });
});
