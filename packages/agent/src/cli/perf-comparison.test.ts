// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { RawStack } from '../recording-options.ts';
import { type CountedStack, comparePerf, sitesOf } from './perf-comparison.ts';
import { parsePerfScript } from './perf-recording.ts';

const ours = (count: number, sites: string[], complete = true): CountedStack => ({ sites, count, complete });
const times = (count: number, sites: string[]) => Array.from({ length: count }, () => sites);

describe('comparePerf', () => {
  it('agrees where shares differ by chance alone, and says how much', () => {
    const comparison = comparePerf(
      [ours(500, ['leaf1', 'a', 'main', 'start']), ours(500, ['leaf2', 'b', 'main', 'start'])],
      [...times(480, ['leaf3', 'a', 'main', 'start']), ...times(520, ['leaf4', 'b', 'main', 'start'])],
    );
    assert.equal(comparison.verdict, 'agree');
    assert.deepEqual(comparison.samples, { plumbline: 1000, perf: 1000 });
    assert.equal(comparison.sites, 4, 'leaves are where the program was, not calls');
    assert.equal(comparison.largestDifference.toFixed(3), '0.020');
    assert.deepEqual(comparison.rooted, { plumbline: 1, perf: 1 });
    assert.deepEqual(comparison.depth, { plumbline: 4, perf: 4 });
  });

  it('finds a caller that one of them attributes otherwise', () => {
    const comparison = comparePerf(
      [ours(1000, ['x', 'right', 'main', 'start'])],
      times(1000, ['x', 'wrong', 'main', 'start']),
    );
    assert.equal(comparison.verdict, 'differ');
    assert.deepEqual(
      comparison.differences.map(({ site, plumbline, perf }) => [site, plumbline, perf]),
      [
        ['right', 1, 0],
        ['wrong', 0, 1],
      ],
    );
  });

  it('holds it against nobody that perf’s copy of the stack ends before the root', () => {
    const deep = Array.from({ length: 500 }, (_, i) => `f${i % 3}`);
    const comparison = comparePerf(
      [ours(1000, ['leaf', ...deep, 'start'])],
      times(1000, ['leaf', ...deep.slice(0, 100)]),
    );
    assert.equal(comparison.verdict, 'agree');
    assert.deepEqual(comparison.rooted, { plumbline: 1, perf: 0 });
  });

  it('decides nothing on a few samples', () => {
    assert.equal(comparePerf([ours(1000, ['x', 'a'])], times(29, ['x', 'b'])).verdict, 'undecided');
    assert.equal(comparePerf([], []).verdict, 'undecided');
  });
});

describe('sites', () => {
  it('of ours are files and offsets; kernel threads have none', () => {
    const stack = (outcome: string) =>
      ({
        outcome,
        count: 3,
        user: [{ file: '/bin/x', fileOffset: 0x10n }, { file: '[vdso]', fileOffset: 0x2n }, { address: 5n }],
      }) as unknown as RawStack;
    assert.deepEqual(sitesOf([stack('truncated'), stack('kernel_only')]), [
      { sites: ['/bin/x+0x10', '[vdso]+0x2', '[anonymous]'], count: 3, complete: false },
    ]);
  });

  it('of perf are read from its text, without the kernel', () => {
    const text = [
      '4242 ',
      '\tffffffff81000010 do_syscall_64 ([kernel.kallsyms])',
      '\t           48dbd __read (/usr/lib/my libc.so.6)',
      '\t            4780 [unknown] (/usr/bin/dash)',
      '',
      '4242 ',
      '\tffffffff81000010 schedule ([kernel.kallsyms])',
      '',
      '4243 ',
      '\t    7f0000001000 [unknown] ([heap])',
      '',
    ].join('\n');
    assert.deepEqual(parsePerfScript(text), [
      ['/usr/lib/my libc.so.6+0x48dbd', '/usr/bin/dash+0x4780'],
      ['[anonymous]'],
    ]);
    assert.throws(() => parsePerfScript('1 \n\t    7f1234567890 f (/bin/x)\n'), /this perf prints addresses/);
  });
});
