// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { NodeConfigView, NodeView } from '../views.ts';
import { type NodeStateInput, nodeState } from './node-state.ts';

const node: NodeView = { name: 'n', uid: 'u', labels: {}, ready: true, linux: true, order: '0' };

const config = (status: Partial<NodeConfigView['status']>, revision = 'r2'): NodeConfigView => ({
  name: 'n',
  uid: 'c',
  ownerUid: 'u',
  configHash: 'wanted',
  actualHash: 'wanted',
  revisions: new Map([['p', revision]]),
  status: {
    observedHash: undefined,
    appliedHash: undefined,
    strategy: 'Loop',
    kernel: '6.1',
    lastHeartbeat: 1,
    notReady: undefined,
    degraded: undefined,
    kernelSeries: '6.1',
    kernelLimits: [],
    policies: new Map(),
    ...status,
  },
});

const input = (over: Partial<NodeStateInput>): NodeStateInput => ({
  policyUid: 'p',
  revision: 'r2',
  node,
  config: config({}),
  release: { at: 0, degradedBefore: false },
  expected: true,
  configuredAt: 0,
  reporting: true,
  now: 1_000,
  progressDeadlineMs: 60_000,
  ...over,
});

const degraded = { reason: 'TruncationHigh', message: 'much' };
const ours = (revision: string) =>
  new Map([['p', { revision, bucket: 'Ok' as const, samples: 1, truncated: 0, overriddenPods: 0 }]]);

const cases: [title: string, over: Partial<NodeStateInput>, expected: object][] = [
  ['not released', { release: undefined }, { kind: 'waiting' }],
  ['released, nothing heard', {}, { kind: 'inFlight' }],
  ['the agent runs what the object says', { config: config({ appliedHash: 'wanted' }) }, { kind: 'applied' }],
  [
    'the agent runs what the object said before',
    { config: config({ appliedHash: 'old', observedHash: 'old' }) },
    { kind: 'inFlight' },
  ],
  [
    'the agent runs the object, which has not got the revision yet',
    { config: config({ appliedHash: 'wanted' }, 'r1') },
    { kind: 'inFlight' },
  ],
  [
    'another policy changed the object; the agent says this one is still in force',
    { config: config({ appliedHash: 'old', policies: ours('r2') }) },
    { kind: 'applied' },
  ],
  [
    'the agent says that the one before is in force',
    { config: config({ appliedHash: 'wanted', policies: ours('r1') }) },
    { kind: 'inFlight' },
  ],
  [
    'refused',
    {
      config: config({
        observedHash: 'wanted',
        appliedHash: 'old',
        notReady: { reason: 'VerifierRejected', message: 'm' },
      }),
    },
    { kind: 'failed', reason: 'VerifierRejected', message: 'm' },
  ],
  [
    'refused because of another policy',
    { config: config({ observedHash: 'wanted', appliedHash: 'old', policies: ours('r2'), notReady: degraded }) },
    { kind: 'applied' },
  ],
  ['worse than before', { config: config({ appliedHash: 'wanted', degraded }) }, { kind: 'failed', ...degraded }],
  [
    'as bad as before',
    { config: config({ appliedHash: 'wanted', degraded }), release: { at: 0, degradedBefore: true } },
    { kind: 'applied' },
  ],
  [
    'too late',
    { now: 61_000 },
    { kind: 'failed', reason: 'ProgressDeadlineExceeded', message: 'not applied after 61 s' },
  ],
  ['too late, but the object was changed a moment ago', { now: 61_000, configuredAt: 50_000 }, { kind: 'inFlight' }],
  ['no agent', { reporting: false }, { kind: 'notReporting' }],
  ['no object yet', { config: undefined }, { kind: 'notReporting' }],
  ['node not ready', { node: { ...node, ready: false } }, { kind: 'notReporting' }],
  ['the policy has no rule on this node', { expected: false }, { kind: 'applied' }],
];
for (const [title, over, expected] of cases) {
  test(title, () => {
    assert.deepEqual(nodeState(input(over)), expected);
  });
}
