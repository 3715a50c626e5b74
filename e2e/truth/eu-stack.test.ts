// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parseEuStack } from './eu-stack.ts';

describe('parseEuStack', () => {
  it('reads threads, addresses, activations and names', () => {
    const stacks = parseEuStack(`PID 7 - process
TID 7:
#0  0x00007f231e1c5f16     __futex_abstimed_wait_common
#1  0x00005625bc1001ec - 1 main
TID 8:
#0  0x00005625bc100330     std::vector<int>::at(unsigned long)
#1  0x00007f231e2498ec - 1
`);
    assert.deepEqual(stacks, [
      {
        tid: 7,
        frames: [
          { address: 0x7f231e1c5f16n, exact: true, name: '__futex_abstimed_wait_common' },
          { address: 0x5625bc1001ecn, exact: false, name: 'main' },
        ],
      },
      {
        tid: 8,
        frames: [
          { address: 0x5625bc100330n, exact: true, name: 'std::vector<int>::at(unsigned long)' },
          { address: 0x7f231e2498ecn, exact: false, name: undefined },
        ],
      },
    ]);
  });

  it('gives each thread its own complaint', () => {
    const stacks = parseEuStack(`PID 7 - process
TID 7:
#0  0x0000000000001000     a
TID 8:
#0  0x0000000000002000     b
eu-stack: dwfl_thread_getframes tid 8 at 0x1fff in /bin/b: no matching address range
`);
    assert.equal(stacks[0].gaveUp, undefined);
    assert.match(stacks[1].gaveUp!, /no matching address range/);
  });

  it('finds nothing in what is not its output', () => {
    assert.deepEqual(parseEuStack(''), []);
    assert.deepEqual(parseEuStack('#0  0x0000000000001000     a\neu-stack: cannot attach'), []);
  });
});
