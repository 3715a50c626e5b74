// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Stack } from '../samples/decode.ts';
import { compareWalks, type Verdict } from './verification.ts';
import type { WalkReply } from './walk-request.ts';

const compare = (user: number[], addresses: number[], end: WalkReply['end']) =>
  compareWalks({ user: Float64Array.from(user) } as unknown as Stack, {
    ...{ flags: new Uint8Array(addresses.length), end, pc: 0, stack: new Uint8Array(0) },
    addresses: Float64Array.from(addresses),
  });

describe('compareWalks', () => {
  const cases: [string, number[], number[], WalkReply['end'], Verdict, number][] = [
    ['the same frames to a root', [1, 2, 3], [1, 2, 3], 'root_entry', 'equal', 3],
    ['another frame', [1, 2, 3], [1, 9, 3], 'root_entry', 'mismatch', 1],
    ['another frame, however the walk ends', [1, 2, 3], [1, 9], 'stack_end', 'mismatch', 1],
    ['a root that comes early', [1, 2, 3], [1, 2], 'root_undefined_ra', 'mismatch', 2],
    ['frames beyond the root', [1, 2], [1, 2, 3], 'root_undefined_ra', 'mismatch', 2],
    ['frames beyond the root that lead nowhere', [1, 2], [1, 2, 3], 'stack_end', 'mismatch', 2],
    ['the end of the copy', [1, 2, 3], [1, 2], 'stack_end', 'partial', 2],
    ['want of knowledge', [1, 2, 3], [1], 'register_unknown', 'undecided', 1],
    ['a walk that failed', [1, 2, 3], [], 'failed', 'undecided', 0],
    ['all frames, but no root known', [1, 2], [1, 2], 'zero_ra', 'undecided', 2],
  ];
  for (const [name, user, addresses, end, verdict, at] of cases)
    it(name, () => assert.deepEqual(compare(user, addresses, end), { verdict, at }));
});
