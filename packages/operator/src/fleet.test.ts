// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RolloutStatus } from '@plumbline/api';
import { Fleet } from './fleet.ts';
import type { NamespaceView } from './merge/rule.ts';
import type { NodeConfigView, NodeView, PolicyView } from './views.ts';

class MapStore<T extends { name: string }> {
  readonly map = new Map<string, T>();
  get(name: string): T | undefined {
    return this.map.get(name);
  }
  values(): Iterable<T> {
    return this.map.values();
  }
  set(value: T): T {
    this.map.set(value.name, value);
    return value;
  }
}

function world(nodeCount = 3) {
  const nodes = new MapStore<NodeView>();
  const namespaces = new MapStore<NamespaceView>();
  const configs = new MapStore<NodeConfigView>();
  for (let i = 0; i < nodeCount; i++) nodes.set(node(`n${i}`));
  namespaces.set({ name: 'payments', labels: { team: 'payments' } });
  const limits = { maxFrequencyHz: 997, maxCpuPercentOfNode: 100, resourceAttributes: {} };
  return { nodes, namespaces, configs, fleet: new Fleet({ nodes, namespaces, configs }, limits) };
}

const node = (name: string, labels: Record<string, string> = {}): NodeView => ({
  name,
  uid: `uid-${name}`,
  labels,
  ready: true,
  linux: true,
  order: name,
});

const policy = (name: string, spec: object, generation = 1, status: object = {}): PolicyView => ({
  name,
  uid: `uid-${name}`,
  generation,
  creationTimestamp: '2026-01-01T00:00:00Z',
  spec,
  status,
});

const hz = (frequencyHz: number, more: object = {}) => ({
  target: { allPods: true },
  sampling: { frequencyHz },
  ...more,
});

const rolling = (revision: string, phase: RolloutStatus['phase']): RolloutStatus => ({
  revision,
  phase,
  startedAt: '2026-01-01T00:00:00Z',
});

/** Rolls the policy out to the end, as the controller does. */
function complete(fleet: Fleet, name: string): void {
  const state = fleet.policy(name)!;
  fleet.setRollout(state, rolling(state.current!.revision, 'Complete'), state.current);
}

const frequencyOn = (fleet: Fleet, view: NodeView) => fleet.desired(view).spec.rules[0]?.frequencyHz;

test('a node has a policy from when it was released, and every node when the rollout is complete', () => {
  const { fleet, nodes } = world();
  fleet.setPolicy(policy('a', hz(49)), 0);
  const state = fleet.policy('a')!;
  fleet.setRollout(state, rolling(state.current!.revision, 'Rolling'), undefined);
  fleet.release(state, ['n1'], 0);
  assert.deepEqual(
    [...nodes.values()].map((view) => frequencyOn(fleet, view)),
    [undefined, 49, undefined],
  );
  complete(fleet, 'a');
  assert.deepEqual(
    [...nodes.values()].map((view) => frequencyOn(fleet, view)),
    [49, 49, 49],
  );
  const late = nodes.set(node('late'));
  assert.equal(frequencyOn(fleet, late), 49, 'also one that came later');
});

test('a new revision reaches released nodes; the others keep the last good one; a rollback brings it back', () => {
  const { fleet, nodes } = world();
  fleet.setPolicy(policy('a', hz(49)), 0);
  complete(fleet, 'a');
  fleet.setPolicy(policy('a', hz(99), 2), 0);
  const state = fleet.policy('a')!;
  const all = () => [...nodes.values()].map((view) => frequencyOn(fleet, view));
  assert.deepEqual(all(), [49, 49, 49]);
  fleet.setRollout(state, rolling(state.current!.revision, 'Rolling'), state.lastGood);
  fleet.release(state, ['n0'], 0);
  assert.deepEqual(all(), [99, 49, 49]);
  const concerned = fleet.setRollout(state, rolling(state.current!.revision, 'RolledBack'), state.lastGood);
  assert.deepEqual(all(), [49, 49, 49]);
  assert.deepEqual(concerned, ['n0', 'n1', 'n2']);
});

test('a leader that takes over reads from the objects who has the revision, and from the status what was good', () => {
  const first = world();
  first.fleet.setPolicy(policy('a', hz(49)), 0);
  const lastGood = first.fleet.policy('a')!.current!;
  first.fleet.setPolicy(policy('a', hz(99), 2), 0);
  const { revision } = first.fleet.policy('a')!.current!;

  const { fleet, configs, nodes } = world();
  configs.set(config('n2', new Map([['uid-a', revision]])));
  const status = {
    rollout: rolling(revision, 'Rolling'),
    lastGood: { revision: lastGood.revision, spec: { ...lastGood.spec } },
  };
  fleet.setPolicy(policy('a', hz(99), 2, status), 0);
  assert.deepEqual(
    [...nodes.values()].map((view) => frequencyOn(fleet, view)),
    [49, 49, 99],
  );
});

function config(name: string, revisions: Map<string, string>): NodeConfigView {
  return {
    name,
    uid: `uid-config-${name}`,
    ownerUid: `uid-${name}`,
    configHash: 'h',
    actualHash: 'h',
    revisions,
    status: {
      observedHash: undefined,
      appliedHash: undefined,
      strategy: undefined,
      kernel: undefined,
      lastHeartbeat: undefined,
      notReady: undefined,
      degraded: undefined,
      kernelSeries: undefined,
      kernelLimits: [],
      policies: new Map(),
    },
  };
}

test('a spec that cannot be read leaves the last good one in force', () => {
  const { fleet, nodes } = world();
  fleet.setPolicy(policy('a', hz(49)), 0);
  complete(fleet, 'a');
  fleet.setPolicy(policy('a', { target: 'nonsense' }, 2), 0);
  assert.match(fleet.policy('a')!.problem!.message, /spec\.target: /);
  assert.equal(frequencyOn(fleet, nodes.get('n0')!), 49);
});

test('paused: a node that the new spec no longer means keeps what it has', () => {
  const { fleet, nodes } = world();
  fleet.setPolicy(policy('a', hz(49)), 0);
  complete(fleet, 'a');
  const elsewhere = hz(49, { nodeSelector: { matchLabels: { pool: 'none' } } });
  fleet.setPolicy(policy('a', { ...elsewhere, paused: true }, 2), 0);
  assert.equal(frequencyOn(fleet, nodes.get('n0')!), 49);
  fleet.setPolicy(policy('a', elsewhere, 3), 0);
  assert.equal(frequencyOn(fleet, nodes.get('n0')!), undefined);
});

test('how a policy is rolled out makes no new revision', () => {
  const { fleet } = world();
  fleet.setPolicy(policy('a', hz(49)), 0);
  const { revision } = fleet.policy('a')!.current!;
  fleet.setPolicy(policy('a', hz(49, { paused: true, rollout: { maxUnavailable: 1 } }), 2), 0);
  assert.equal(fleet.policy('a')!.current!.revision, revision);
  fleet.setPolicy(policy('a', hz(50), 3), 0);
  assert.notEqual(fleet.policy('a')!.current!.revision, revision);
});

test('a policy of the same name with another uid is another policy', () => {
  const { fleet } = world();
  fleet.setPolicy(policy('a', hz(49)), 0);
  complete(fleet, 'a');
  fleet.setPolicy({ ...policy('a', hz(49)), uid: 'another' }, 0);
  assert.equal(fleet.policy('a')!.lastGood, undefined);
  assert.equal(fleet.policy('a')!.rollout, undefined);
});

test('a namespace that appears changes the rule, one that no policy means does not', () => {
  const { fleet, namespaces, nodes } = world();
  fleet.setPolicy(policy('a', { target: { namespaceSelector: { matchLabels: { team: 'payments' } } } }), 0);
  complete(fleet, 'a');
  const rule = () => fleet.desired(nodes.get('n0')!).spec.rules[0];
  assert.deepEqual(rule().namespaces, ['payments']);
  namespaces.set({ name: 'other', labels: {} });
  assert.equal(fleet.namespacesChanged(), false);
  namespaces.set({ name: 'payments-eu', labels: { team: 'payments' } });
  assert.equal(fleet.namespacesChanged(), true);
  assert.deepEqual(rule().namespaces, ['payments', 'payments-eu']);
});

test('nodes with the same policies share one configuration object', () => {
  const { fleet, nodes } = world(100);
  fleet.setPolicy(policy('a', hz(49)), 0);
  fleet.setPolicy(policy('b', hz(19)), 0);
  complete(fleet, 'a');
  complete(fleet, 'b');
  assert.equal(new Set([...nodes.values()].map((view) => fleet.desired(view))).size, 1);
});

test('losses name the winner and count the nodes', () => {
  const { fleet, nodes } = world();
  fleet.setPolicy(policy('low', hz(19)), 0);
  fleet.setPolicy(policy('high', hz(49, { priority: 5, nodeSelector: { matchLabels: { pool: 'x' } } })), 0);
  nodes.set(node('n0', { pool: 'x' }));
  fleet.nodeChanged('n0', false);
  complete(fleet, 'low');
  complete(fleet, 'high');
  const low = fleet.policy('low')!;
  assert.deepEqual(fleet.losses(low, fleet.targets(low)), [
    { winner: 'high', reason: 'OverriddenByHigherPriority', what: 'processes that both select', nodes: 1 },
  ]);
  const high = fleet.policy('high')!;
  assert.deepEqual(fleet.losses(high, fleet.targets(high)), []);
});

test('only Linux nodes are targets', () => {
  const { fleet, nodes } = world();
  nodes.set({ ...node('windows'), linux: false });
  fleet.setPolicy(policy('a', hz(49)), 0);
  assert.deepEqual(
    fleet.targets(fleet.policy('a')!).map(({ name }) => name),
    ['n0', 'n1', 'n2'],
  );
});
