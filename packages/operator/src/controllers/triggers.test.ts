// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import { WorkQueue } from '@plumbline/kube';
import { FakeClock } from '../../../kube/test/fake-clock.ts';
import { AgentActivity, SILENCE_MS } from '../agent-activity.ts';
import { Fleet } from '../fleet.ts';
import type { NamespaceView } from '../merge/rule.ts';
import type { NodeConfigView, NodeView, PolicyView } from '../views.ts';
import { Triggers } from './triggers.ts';

let clock: FakeClock;
let nodes: Map<string, NodeView>;
let namespaces: Map<string, NamespaceView>;
let configs: Map<string, NodeConfigView>;
let fleet: Fleet;
let agents: AgentActivity;
let nodeQueue: WorkQueue;
let policyQueue: WorkQueue;
let triggers: Triggers;

const node = (name: string, over: Partial<NodeView> = {}): NodeView => ({
  name,
  uid: `uid-${name}`,
  labels: {},
  ready: true,
  linux: true,
  order: name,
  ...over,
});
const policy = (over: Partial<PolicyView> = {}): PolicyView => ({
  name: 'p',
  uid: 'uid-p',
  generation: 1,
  creationTimestamp: '2026-01-01T00:00:00Z',
  spec: { target: { allPods: true } },
  status: {},
  ...over,
});
const config = (
  name: string,
  over: Partial<NodeConfigView> = {},
  status: Partial<NodeConfigView['status']> = {},
): NodeConfigView => ({
  name,
  uid: `uid-config-${name}`,
  ownerUid: `uid-${name}`,
  configHash: 'h',
  actualHash: 'h',
  revisions: new Map([['uid-p', 'r']]),
  status: {
    observedHash: 'h',
    appliedHash: 'h',
    strategy: 'Loop',
    kernel: '6.1',
    lastHeartbeat: 1,
    notReady: undefined,
    degraded: undefined,
    kernelSeries: undefined,
    kernelLimits: [],
    policies: new Map(),
    ...status,
  },
  ...over,
});

beforeEach(() => {
  clock = new FakeClock();
  nodes = new Map(['a', 'b'].map((name) => [name, node(name)]));
  namespaces = new Map();
  configs = new Map();
  fleet = new Fleet(
    { nodes, namespaces, configs },
    { maxFrequencyHz: 997, maxCpuPercentOfNode: 100, resourceAttributes: {} },
  );
  agents = new AgentActivity(clock);
  nodeQueue = new WorkQueue({ name: 'nodes', clock });
  policyQueue = new WorkQueue({ name: 'policies', clock });
  triggers = new Triggers({ fleet, agents, nodeQueue, policyQueue, clock });
});

/** What was asked to be looked at, after everything gathered has come through. */
async function asked(): Promise<{ nodes: string[]; policies: string[] }> {
  await clock.advance(2_000);
  const drain = async (queue: WorkQueue) => {
    const keys: string[] = [];
    while (queue.depth > 0) {
      const key = (await queue.take())!;
      keys.push(key);
      queue.done(key);
    }
    return keys.sort();
  };
  return { nodes: await drain(nodeQueue), policies: await drain(policyQueue) };
}

async function withPolicy(): Promise<void> {
  triggers.policy({ type: 'added', key: 'p', value: policy() });
  await asked();
}

test('a new policy: itself and the nodes that it means', async () => {
  triggers.policy({ type: 'added', key: 'p', value: policy() });
  assert.deepEqual(await asked(), { nodes: ['a', 'b'], policies: ['p'] });
});

test('smell 7, a status write must not trigger itself: own status coming back is no news, a foreign one is put right', async () => {
  await withPolicy();
  const status = { observedGeneration: 1 };
  fleet.policy('p')!.view = { ...policy(), status };
  triggers.policy({ type: 'updated', key: 'p', value: policy({ status }), previous: policy() });
  assert.deepEqual(await asked(), { nodes: [], policies: [] });
  triggers.policy({
    type: 'updated',
    key: 'p',
    value: policy({ status: { observedGeneration: 99 } }),
    previous: policy(),
  });
  assert.deepEqual(await asked(), { nodes: [], policies: ['p'] });
});

test('a changed selector: the nodes from before and those from now', async () => {
  triggers.policy({
    type: 'added',
    key: 'p',
    value: policy({ spec: { target: { allPods: true }, nodeSelector: { matchLabels: { pool: 'x' } } } }),
  });
  configs.set('b', config('b'));
  await asked();
  nodes.set('c', node('c', { labels: { pool: 'y' } }));
  triggers.node({ type: 'added', key: 'c', value: nodes.get('c')! });
  await asked();
  triggers.policy({
    type: 'updated',
    key: 'p',
    value: policy({ generation: 2, spec: { target: { allPods: true }, nodeSelector: { matchLabels: { pool: 'y' } } } }),
  });
  assert.deepEqual(await asked(), { nodes: ['b', 'c'], policies: ['p'] });
});

test('a deleted policy: the nodes that have it', async () => {
  await withPolicy();
  triggers.policy({ type: 'deleted', key: 'p', value: policy() });
  assert.deepEqual(await asked(), { nodes: ['a', 'b'], policies: [] });
  assert.equal(fleet.policy('p'), undefined);
});

test('what kubelet reports all the time is no news; labels and readiness are', async () => {
  await withPolicy();
  triggers.node({ type: 'updated', key: 'a', value: node('a'), previous: node('a') });
  assert.deepEqual(await asked(), { nodes: [], policies: [] });
  triggers.node({ type: 'updated', key: 'a', value: node('a', { ready: false }), previous: node('a') });
  assert.deepEqual(await asked(), { nodes: ['a'], policies: ['p'] });
  nodes.delete('a');
  triggers.node({ type: 'deleted', key: 'a', value: node('a') });
  assert.deepEqual(await asked(), { nodes: ['a'], policies: ['p'] });
});

test('an agent: a heartbeat is no news, a report is news for its policies, a changed spec for the node', async () => {
  await withPolicy();
  triggers.config({ type: 'added', key: 'a', value: config('a') });
  assert.deepEqual(await asked(), { nodes: ['a'], policies: ['p'] });
  triggers.config({ type: 'updated', key: 'a', value: config('a', {}, { lastHeartbeat: 2 }), previous: config('a') });
  // The first heartbeat of 1970 was stale; that this one is not is news.
  assert.deepEqual(await asked(), { nodes: [], policies: ['p'] });
  triggers.config({
    type: 'updated',
    key: 'a',
    value: config('a', {}, { lastHeartbeat: 3 }),
    previous: config('a', {}, { lastHeartbeat: 2 }),
  });
  assert.deepEqual(await asked(), { nodes: [], policies: [] });
  triggers.config({
    type: 'updated',
    key: 'a',
    value: config('a', {}, { appliedHash: 'other' }),
    previous: config('a'),
  });
  assert.deepEqual(await asked(), { nodes: [], policies: ['p'] });
  triggers.config({ type: 'updated', key: 'a', value: config('a', { actualHash: 'edited' }), previous: config('a') });
  assert.deepEqual(await asked(), { nodes: ['a'], policies: ['p'] });
});

test('namespaces: many changes are one look, and only where a rule changes', async () => {
  triggers.policy({
    type: 'added',
    key: 'p',
    value: policy({ spec: { target: { namespaceSelector: { matchLabels: { team: 'x' } } } } }),
  });
  await asked();
  fleet.compiled(fleet.policy('p')!.current!);
  const add = (name: string, labels: Record<string, string>) => {
    namespaces.set(name, { name, labels });
    triggers.namespace({ type: 'added', key: name, value: namespaces.get(name)! });
  };
  add('other', {});
  assert.deepEqual(await asked(), { nodes: [], policies: [] });
  for (let i = 0; i < 50; i++) add(`x${i}`, { team: 'x' });
  assert.deepEqual(await asked(), { nodes: ['a', 'b'], policies: ['p'] });
});

test('an agent is alive while its heartbeat changes, by the clock of this process', () => {
  const now = clock.date().getTime();
  agents.observe(config('a', {}, { lastHeartbeat: undefined }));
  assert.equal(agents.isAlive('a'), false, 'never heard of');
  agents.observe(config('a', {}, { lastHeartbeat: now + 3_600_000 }));
  assert.equal(agents.isAlive('a'), true, 'whatever its wall clock says');
  clock.jump(SILENCE_MS);
  assert.equal(agents.isAlive('a'), false);
  agents.observe(config('a', {}, { lastHeartbeat: now + 3_600_001 }));
  assert.equal(agents.isAlive('a'), true);
  agents.observe(config('old', {}, { lastHeartbeat: now - SILENCE_MS }));
  assert.equal(agents.isAlive('old'), false, 'an old one at first sight');
});
