// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ADVICE, POLICY_CONDITIONS, ProfilingPolicySpec, ProfilingPolicyStatus, REASONS } from '@plumbline/api';
import fc from 'fast-check';
import type { NodeState } from '../rollout/node-state.ts';
import type { NodeConfigView, NodePolicyView } from '../views.ts';
import { objectiveMet } from './conditions.ts';
import { type PolicyNode, type SummaryInput, summarize } from './summarize.ts';
import { announcements, changeBetween } from './transitions.ts';
import { ratioText, summarizeTruncation } from './truncation.ts';

const spec = ProfilingPolicySpec.parse({ target: { allPods: true } });

const LOOP = { feature: 'loop', since: '5.17', effect: 'tail calls' };
const TASK_WORK = { feature: 'taskWork', since: '6.18', effect: 'paged-out memory cannot be read' };

function configOf(policy?: Partial<NodePolicyView>, kernel = '6.1.0-28'): NodeConfigView {
  const policies = new Map<string, NodePolicyView>(
    policy ? [['p', { bucket: 'Ok', samples: 0, truncated: 0, overriddenPods: 0, ...policy }]] : [],
  );
  return {
    name: 'n',
    uid: 'c',
    ownerUid: 'u',
    configHash: '',
    actualHash: '',
    revisions: new Map(),
    status: {
      observedHash: undefined,
      appliedHash: undefined,
      strategy: 'Loop',
      kernel,
      kernelSeries: /^\d+\.\d+/.exec(kernel)?.[0],
      lastHeartbeat: 1,
      notReady: undefined,
      degraded: undefined,
      kernelLimits: kernel.startsWith('5.10') ? [LOOP, TASK_WORK] : [TASK_WORK],
      policies,
    },
  };
}

const applied: NodeState = { kind: 'applied' };
const failed: NodeState = { kind: 'failed', reason: 'VerifierRejected', message: 'kernel says no' };
const node = (
  name: string,
  state: NodeState = applied,
  config: NodeConfigView | undefined = configOf(),
): PolicyNode => ({ name, state, config });

const input = (over: Partial<SummaryInput> = {}): SummaryInput => ({
  uid: 'p',
  generation: 3,
  previous: {},
  spec,
  problem: undefined,
  rollout: { revision: 'r', phase: 'Complete', startedAt: '2026-01-01T00:00:00Z' },
  lastGood: undefined,
  nodes: [node('a'), node('b')],
  losses: [],
  clamps: [],
  selectsNoNamespace: false,
  now: new Date('2026-02-03T04:05:06.789Z'),
  ...over,
});

const of = (status: ProfilingPolicyStatus, type: string) => {
  const condition = status.conditions?.find((item) => item.type === type);
  return condition && `${condition.status} ${condition.reason}`;
};

const cases: [title: string, over: Partial<SummaryInput>, expected: Record<string, string>][] = [
  [
    'all well',
    {},
    {
      Ready: 'True AllNodesApplied',
      Accepted: 'True Valid',
      Progressing: 'False RolloutComplete',
      Degraded: 'False AsExpected',
      Conflicted: 'False NoConflict',
      Clamped: 'False WithinLimits',
      ObjectiveMet: 'Unknown NotEnoughSamples',
    },
  ],
  ['no node', { nodes: [] }, { Ready: 'False NoMatchingNodes' }],
  ['no namespace', { selectsNoNamespace: true }, { Ready: 'False NoMatchingNamespaces' }],
  [
    'not accepted',
    { problem: { reason: 'TooManyNamespaces', message: 'm' }, rollout: undefined },
    { Ready: 'False NotAccepted', Accepted: 'False TooManyNamespaces' },
  ],
  [
    'one failed',
    { nodes: [node('a'), node('b', failed)] },
    { Ready: 'False NodesFailed', Degraded: 'True VerifierRejected' },
  ],
  [
    'one in flight',
    {
      nodes: [node('a'), node('b', { kind: 'inFlight' })],
      rollout: { revision: 'r', phase: 'Rolling', startedAt: '2026-01-01T00:00:00Z' },
    },
    { Ready: 'False NodesPending', Progressing: 'True RolloutInProgress' },
  ],
  ['one without agent', { nodes: [node('a'), node('b', { kind: 'notReporting' })] }, { Ready: 'True AllNodesApplied' }],
  ['no agent anywhere', { nodes: [node('a', { kind: 'notReporting' })] }, { Ready: 'False NodesPending' }],
  [
    'rolled back',
    {
      nodes: [node('a', { kind: 'waiting' })],
      rollout: { revision: 'r', phase: 'RolledBack', startedAt: '2026-01-01T00:00:00Z', message: 'why' },
    },
    { Ready: 'False RolledBack', Progressing: 'False RolledBack' },
  ],
  [
    'stopped',
    { rollout: { revision: 'r', phase: 'Failed', startedAt: '2026-01-01T00:00:00Z' } },
    { Ready: 'False RolloutFailed', Progressing: 'False RolloutFailed' },
  ],
  [
    'paused',
    {
      spec: { ...spec, paused: true },
      nodes: [node('a', { kind: 'waiting' })],
      rollout: { revision: 'r', phase: 'Rolling', startedAt: '2026-01-01T00:00:00Z' },
    },
    { Ready: 'False Paused', Progressing: 'False Paused' },
  ],
  [
    'canary',
    { rollout: { revision: 'r', phase: 'Canary', startedAt: '2026-01-01T00:00:00Z' } },
    { Progressing: 'True CanaryInProgress' },
  ],
  ['clamped', { clamps: [{ reason: 'FrequencyLimit', message: 'm' }] }, { Clamped: 'True FrequencyLimit' }],
  [
    'overridden',
    { losses: [{ winner: 'w', reason: 'OverriddenByHigherPriority', what: 'pods', nodes: 2 }] },
    { Conflicted: 'True OverriddenByHigherPriority' },
  ],
  [
    'truncated',
    { nodes: [node('a', applied, configOf({ samples: 1000, truncated: 50 }))] },
    { ObjectiveMet: 'False TruncationHigh' },
  ],
  [
    'complete',
    { nodes: [node('a', applied, configOf({ samples: 1000, truncated: 5 }))] },
    { ObjectiveMet: 'True WithinObjective' },
  ],
];
for (const [title, over, expected] of cases) {
  test(`conditions: ${title}`, () => {
    const status = summarize(input(over));
    for (const [type, value] of Object.entries(expected)) assert.equal(of(status, type), value, type);
    for (const condition of status.conditions ?? []) {
      assert.ok(condition.type in POLICY_CONDITIONS, condition.type);
      assert.ok(condition.reason in REASONS, condition.reason);
      assert.equal(condition.observedGeneration, 3);
    }
    ProfilingPolicyStatus.parse(status);
  });
}

test('nodes are counted by state, the first ten failing ones are listed by name', () => {
  const nodes = Array.from({ length: 15 }, (_, i) => node(`n${String(i).padStart(2, '0')}`, failed)).reverse();
  const status = summarize(input({ nodes: [...nodes, node('ok'), node('later', { kind: 'waiting' })] }));
  assert.deepEqual(status.nodes, { targeted: 17, updated: 16, applied: 1, failed: 15, notReporting: 0 });
  assert.deepEqual(
    status.failingNodes?.map(({ name }) => name),
    Array.from({ length: 10 }, (_, i) => `n0${i}`),
  );
  assert.match(
    status.conditions!.find(({ type }) => type === 'Degraded')!.message,
    /^15 nodes of 17 failed: n00 and 14 others: kernel says no$/,
  );
});

test('kernels and strategies are tallied, most frequent first', () => {
  const nodes = ['6.1.0', '6.1.9', '5.10.0-33', 'weird'].map((kernel, i) =>
    node(`n${i}`, applied, configOf(undefined, kernel)),
  );
  const status = summarize(input({ nodes }));
  assert.deepEqual(status.kernels, [
    { name: '6.1', nodes: 2 },
    { name: '5.10', nodes: 1 },
  ]);
  assert.deepEqual(status.strategies, [{ name: 'Loop', nodes: 4 }]);
  assert.deepEqual(status.kernelLimits, [
    { ...TASK_WORK, nodes: 4 },
    { ...LOOP, nodes: 1 },
  ]);
});

test('what is missed is explained: the usual ratio, the file, and what to do', () => {
  const policy = { samples: 1000, truncated: 100, baselineRatio: 0.002, worstWorkload: 'shop/api' };
  const message = (more: Partial<NodePolicyView>) =>
    summarize(input({ nodes: [node('a', applied, configOf({ ...policy, ...more }))] })).conditions!.find(
      ({ type }) => type === 'ObjectiveMet',
    )!.message;
  assert.equal(
    message({ topReason: 'no_unwind_info', topFile: '/opt/libfoo.so (build id abcd)' }),
    `Truncated ratio 0.1, objective 0.01, usually 0.002; worst: shop/api; mostly no_unwind_info in /opt/libfoo.so (build id abcd); ${ADVICE.no_unwind_info.todo}.`,
  );
  assert.match(message({ topReason: 'frame_limit', topFile: '/bin/x' }), /; mostly frame_limit; raise spec\./);
  assert.match(message({ topReason: 'of_a_newer_agent' }), /; mostly of_a_newer_agent\.$/);
});

test('an unchanged state gives an unchanged status, whenever it is asked for', () => {
  const first = summarize(input());
  const second = summarize(input({ previous: first, now: new Date('2027-01-01T00:00:00Z') }));
  assert.equal(changeBetween(first, second), 'none');
});

test('the order of nodes does not matter', () => {
  const states: NodeState[] = [applied, failed, { kind: 'inFlight' }, { kind: 'notReporting' }];
  const anyNode = fc.record({
    samples: fc.nat(1000),
    truncated: fc.nat(1000),
    state: fc.constantFrom(...states),
    workload: fc.constantFrom('a/x', 'b/y'),
  });
  fc.assert(
    fc.property(fc.array(anyNode, { maxLength: 12 }), (items) => {
      const nodes = items.map(({ samples, truncated, state, workload }, i) =>
        node(
          `n${i}`,
          state,
          configOf({
            samples,
            truncated: Math.min(samples, truncated),
            worstWorkload: workload,
            topReason: 'no_mapping',
          }),
        ),
      );
      const { worstNode: _a, ...one } = summarize(input({ nodes })).truncation ?? {};
      const { worstNode: _b, ...other } = summarize(input({ nodes: [...nodes].reverse() })).truncation ?? {};
      assert.deepEqual(one, other);
    }),
  );
});

test('the objective has hysteresis: missed above it, met again well below it', () => {
  const truncation = (ratio: number) =>
    summarizeTruncation([
      { node: 'n', policy: { bucket: 'Ok', samples: 10_000, truncated: ratio * 10_000, overriddenPods: 0 } },
    ]);
  const missed = {
    type: 'ObjectiveMet',
    status: 'False' as const,
    reason: 'TruncationHigh',
    message: '',
    lastTransitionTime: '',
  };
  assert.equal(objectiveMet(truncation(0.0095), 0.01, undefined).status, 'True');
  assert.equal(objectiveMet(truncation(0.0095), 0.01, missed).status, 'False');
  assert.equal(objectiveMet(truncation(0.0079), 0.01, missed).status, 'True');
  assert.equal(objectiveMet(truncation(0.011), 0.01, undefined).status, 'False');
});

test('traffic around the smallest number of samples changes no verdict that stands', () => {
  const truncation = (samples: number) =>
    summarizeTruncation([{ node: 'n', policy: { bucket: 'Ok', samples, truncated: samples / 2, overriddenPods: 0 } }]);
  const judge = (samples: number, before?: 'True' | 'False' | 'Unknown') =>
    objectiveMet(
      truncation(samples),
      0.01,
      before && { type: 'ObjectiveMet', status: before, reason: '', message: '', lastTransitionTime: '' },
    ).status;
  assert.equal(judge(198), 'Unknown');
  assert.equal(judge(198, 'Unknown'), 'Unknown');
  assert.equal(judge(198, 'False'), 'False');
  assert.equal(judge(98, 'False'), 'Unknown');
  assert.equal(judge(200, 'Unknown'), 'False');
});

test('truncation: the worst node needs samples, baselines are weighted', () => {
  const policy = (samples: number, truncated: number, baselineRatio?: number): NodePolicyView => ({
    bucket: 'Ok',
    samples,
    truncated,
    overriddenPods: 0,
    ...(baselineRatio !== undefined && { baselineRatio }),
  });
  const summary = summarizeTruncation([
    { node: 'idle', policy: policy(2, 2) },
    { node: 'bad', policy: policy(1000, 100, 0.02) },
    { node: 'good', policy: policy(3000, 0, 0.0) },
  ]);
  assert.deepEqual([summary.worstNode, summary.ratioText, summary.baselineText], ['bad', '0.0255', '0.005']);
  assert.deepEqual([ratioText(0), ratioText(1), ratioText(0.00001), ratioText(2)], ['0', '1', '0', '1']);
});

test('depth and what is usual are means by samples, in two digits', () => {
  const nodes = [
    node('a', applied, configOf({ samples: 1000, depth: 100, baselineDepth: 120 })),
    node('b', applied, configOf({ samples: 3000, depth: 20, baselineDepth: 21 })),
    node('old', applied, configOf({ samples: 5000 })),
  ];
  const { truncation } = summarize(input({ nodes }));
  assert.deepEqual([truncation?.depth, truncation?.baselineDepth], [40, 46]);
  assert.equal('depth' in (summarize(input({ nodes: [nodes[2]] })).truncation ?? {}), false);
});

test('changes have a rank: news, counts, figures', () => {
  const base = summarize(input({ nodes: [node('a', applied, configOf({ samples: 1000, truncated: 1 })), node('b')] }));
  const later = (over: Partial<SummaryInput>) => summarize(input({ previous: base, ...over }));
  const figures = later({ nodes: [node('a', applied, configOf({ samples: 5000, truncated: 9 })), node('b')] });
  assert.equal(changeBetween(base, figures), 'figures');
  const counts = later({
    nodes: [
      node('a', applied, configOf({ samples: 1000, truncated: 1 })),
      node('b', applied, configOf(undefined, '5.10.1')),
    ],
  });
  assert.equal(changeBetween(base, counts), 'counts');
  assert.equal(changeBetween(base, later({ nodes: [node('a'), node('b', failed)] })), 'transition');
});

test('events: what went wrong, what became right, and nothing twice', () => {
  const good = summarize(input());
  const reasons = (before: ProfilingPolicyStatus, after: ProfilingPolicyStatus) =>
    announcements(before, after).map(({ type, reason }) => `${type} ${reason}`);
  assert.deepEqual(reasons({}, good), ['Normal AllNodesApplied', 'Normal RolloutComplete']);
  assert.deepEqual(reasons(good, good), []);
  const bad = summarize(input({ previous: good, nodes: [node('a'), node('b', failed)] }));
  assert.deepEqual(reasons(good, bad), ['Warning NodesFailed', 'Warning VerifierRejected']);
  assert.deepEqual(reasons(bad, summarize(input({ previous: bad }))), ['Normal AllNodesApplied', 'Normal AsExpected']);
  const rolledBack = summarize(
    input({ previous: good, rollout: { revision: 'r2', phase: 'RolledBack', startedAt: '2026-01-01T00:00:00Z' } }),
  );
  assert.deepEqual(reasons(good, rolledBack), ['Warning RolledBack'], 'Ready and Progressing say the same');
});
