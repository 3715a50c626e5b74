// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Cause, Explanation } from './explanation.ts';
import { joinExplanations } from './join-explanations.ts';

const cause = (reason: string, samples: number, more: Partial<Cause> = {}): Cause => ({
  reason,
  samples,
  meaning: 'm',
  advice: 'a',
  concern: 'file',
  share: 0,
  files: [],
  processes: [],
  policies: [],
  newerKernel: [],
  ...more,
});
const explanation = (samples: number, causes: Cause[], more: Partial<Explanation> = {}): Explanation => ({
  kernel: '6.1',
  strategy: 'loop',
  samples,
  truncated: causes.reduce((sum, one) => sum + one.samples, 0),
  recovered: 1,
  truncatedRatio: 0,
  causes,
  lost: [],
  ...more,
});
const file = (path: string, samples: number, ...pages: string[]) => ({
  path,
  buildId: 'b',
  samples,
  pages,
  functions: ['f'],
});

test('nodes are joined: counts add up, files are one, processes stay apart, the most frequent comes first', () => {
  const loop = { feature: 'loop', since: '5.17', effect: 'e' };
  const shop = { name: 'shop', maxFrames: 64, spill: 'Auto' as const };
  const joined = joinExplanations([
    explanation(
      100,
      [cause('x', 10, { files: [file('/a', 7, '0x1'), file('/b', 3)], policies: [{ ...shop, samples: 10 }] })],
      {
        lost: [{ reason: 'ring_full', samples: 2, meaning: '', advice: '' }],
      },
    ),
    explanation(
      300,
      [
        cause('y', 20, { processes: [{ workload: 'w', program: 'p', pid: 1, samples: 20 }] }),
        cause('x', 30, { files: [file('/b', 30, '0x2')], newerKernel: [loop], policies: [{ ...shop, samples: 30 }] }),
      ],
      { kernel: '5.10', strategy: 'tailCall', lost: [{ reason: 'ring_full', samples: 3, meaning: '', advice: '' }] },
    ),
  ]);
  assert.deepEqual(
    [joined.samples, joined.truncated, joined.recovered, joined.truncatedRatio, joined.kernel, joined.strategy],
    [400, 60, 2, 0.15, '6.1, 5.10', 'loop, tailCall'],
  );
  assert.deepEqual(
    joined.causes.map(({ reason, samples, share }) => [reason, samples, share]),
    [
      ['x', 40, 0.1],
      ['y', 20, 0.05],
    ],
  );
  assert.deepEqual(joined.causes[0].files, [file('/b', 33, '0x2'), file('/a', 7, '0x1')]);
  assert.deepEqual(joined.causes[0].policies, [{ ...shop, samples: 40 }]);
  assert.deepEqual(joined.causes[0].newerKernel, [loop]);
  assert.deepEqual(joined.lost, [{ reason: 'ring_full', samples: 5, meaning: '', advice: '' }]);
});

test('of no node there is nothing to say', () => {
  const { samples, truncatedRatio, causes } = joinExplanations([]);
  assert.deepEqual([samples, truncatedRatio, causes], [0, 0, []]);
});
