// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { MismatchReport, RawFrame, RecoveryResult } from '../recording-options.ts';
import { plain } from './terminal.ts';
import { jsonVerification, standsVerification, textVerification } from './verification-report.ts';

const frame = (address: number, name?: string): RawFrame => ({
  ...{ address: BigInt(address), exact: false, byPointer: address === 3 },
  ...(name === undefined ? {} : { name, file: '/usr/bin/x', fileAddress: BigInt(address + 0x100) }),
});
const mismatch: MismatchReport = {
  ...{ pid: 5, comm: 'x', at: 1, agentEnd: 'root_entry' },
  kernel: [frame(1, 'leaf'), frame(2, 'wrong'), frame(4, 'main')],
  agent: [frame(1, 'leaf'), frame(3, 'right')],
};

function input(recovery: Partial<RecoveryResult>) {
  const verdicts = { equal: 0, partial: 0, undecided: 0, mismatch: 0 };
  const spills = { sent: 10, limited: 1, refused: 2, unread: 3 };
  return {
    ...{ what: 'all processes', frequency: 99 },
    result: {
      ...{ strategy: 'loop' as const, elapsedMs: 10_001 },
      recovery: { spills, recovered: 0, failures: {}, verdicts, mismatches: [], ...recovery },
    },
  };
}
const verdicts = { equal: 1200, partial: 5, undecided: 4, mismatch: 0 };

describe('the verdict of verify', () => {
  it('stands when something was compared and nothing differs', () => {
    assert.equal(standsVerification(input({ verdicts }).result), true);
    assert.equal(standsVerification(input({ verdicts: { ...verdicts, mismatch: 1 } }).result), false);
    assert.equal(standsVerification(input({}).result), false);
  });

  it('says what was compared, and what became of cut walks', () => {
    const text = textVerification(input({ verdicts, recovered: 7, failures: { stack_end: 2, no_mapping: 1 } }), plain);
    assert.match(text, /^Verified all processes for 10s at 99 Hz, strategy loop: 1,209 complete walks/);
    assert.match(text, /^ {2}equal +1,200 {2}every frame, to the root$/m);
    assert.match(text, /^ {2}partial +5 {2}equal as far as the copy of the stack \(256 KiB at most\) reaches$/m);
    assert.match(text, /^7 walks .* were finished; others were not: stack_end 2, no_mapping 1\.$/m);
    assert.match(text, /No frame differs\.\n$/);
    assert.match(textVerification(input({}), plain), /Nothing was compared/);
  });

  it('shows both walks where they differ', () => {
    const text = textVerification(input({ verdicts: { ...verdicts, mismatch: 1 }, mismatches: [mismatch] }), plain);
    assert.match(text, /^x \(pid 5\): 3 frames by the kernel side, 2 by the second unwinder \(root_entry\)$/m);
    assert.match(text, /^ {2}1 +wrong x\+0x102 +right x\+0x103 \(rbp\)$/m);
    assert.match(text, /^ {2}2 +main x\+0x104 +-$/m);
    assert.match(text, /1 walks differ; please report this\.\n$/);
  });

  it('is an object for machines, which JSON can hold', () => {
    const object = jsonVerification(input({ verdicts, mismatches: [mismatch] }));
    assert.deepEqual(
      [object.compared, object.notCompared, object.verdicts, object.mismatches[0].frame],
      [1209, 5, verdicts, 1],
    );
    assert.deepEqual(JSON.parse(JSON.stringify(object)).mismatches[0].agent[1], {
      ...{ address: '0x3', name: 'right', file: '/usr/bin/x', fileAddress: '0x103', byPointer: true },
    });
  });
});
