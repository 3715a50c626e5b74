// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ATTRIBUTE } from '../profile/attribute-names.ts';
import { NO_MAPPING } from '../profile/mapping-table.ts';
import { Profile } from '../profile/profile.ts';
import { joinSummaries, summarizeWorkloads } from './workload-summary.ts';

function add(profile: Profile, name: string, outcome: string, depth: number, count: number, reason?: string): void {
  const frames = Array.from({ length: depth }, (_, i) =>
    profile.internFrame('native', NO_MAPPING, i, [{ name: `f${i}` }]),
  );
  const kernel = profile.internFrame('kernel', NO_MAPPING, 1, [{ name: 'read' }]);
  const root = reason ? [profile.internTruncatedRoot(reason)] : [];
  const [namespace, service] = name.split('/');
  profile.addSample(
    profile.attributes.internSet({ [ATTRIBUTE.namespaceName]: namespace, [ATTRIBUTE.serviceName]: service }),
    profile.stacks.internLeafFirst([kernel, ...frames, ...root]),
    { [ATTRIBUTE.stackOutcome]: outcome, [ATTRIBUTE.truncationReason]: reason, [ATTRIBUTE.policyName]: 'p' },
    count,
  );
}

test('workloads with their ratio, depth, top reason and what is usual, worst first', () => {
  const profile = new Profile({ startUnixNano: 0n });
  add(profile, 'shop/api', 'complete', 10, 80);
  add(profile, 'shop/api', 'truncated', 4, 15, 'frame_limit');
  add(profile, 'shop/api', 'truncated', 4, 5, 'bad_frame');
  add(profile, 'shop/db', 'recovered', 20, 10);
  add(profile, 'shop/db', 'kernel_only', 0, 1000);
  const usual = { truncatedRatio: 0.01, depth: 9 };
  const summaries = summarizeWorkloads(profile, (policy, workload) =>
    policy === 'p' && workload === 'shop/api' ? usual : undefined,
  );
  assert.deepEqual(summaries, [
    {
      workload: 'shop/api',
      policy: 'p',
      samples: 100,
      truncated: 20,
      recovered: 0,
      truncatedRatio: 0.2,
      depth: 8.8,
      topReason: 'frame_limit',
      usual,
    },
    { workload: 'shop/db', policy: 'p', samples: 10, truncated: 0, recovered: 10, truncatedRatio: 0, depth: 20 },
  ]);
});

test('summaries of nodes are joined by their samples', () => {
  const one = {
    workload: 'a/b',
    policy: 'p',
    samples: 100,
    truncated: 10,
    recovered: 1,
    truncatedRatio: 0.1,
    depth: 10,
  };
  const joined = joinSummaries([
    [{ ...one, topReason: 'x', usual: { truncatedRatio: 0.02, depth: 30 } }],
    [
      { ...one, samples: 300, truncated: 50, depth: 20, topReason: 'y', usual: { truncatedRatio: 0.06, depth: 10 } },
      { ...one, workload: 'c/d', truncated: 70 },
    ],
    [],
  ]);
  assert.deepEqual(joined, [
    { ...one, workload: 'c/d', truncated: 70, truncatedRatio: 0.7 },
    {
      ...one,
      samples: 400,
      truncated: 60,
      recovered: 2,
      truncatedRatio: 0.15,
      depth: 17.5,
      topReason: 'y',
      usual: { truncatedRatio: 0.05, depth: 15 },
    },
  ]);
});
