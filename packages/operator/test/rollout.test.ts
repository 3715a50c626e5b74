// SPDX-License-Identifier: Apache-2.0
/** Canary, batches, pause, failure and rollback over forty simulated nodes on a real API server. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { waitUntil } from '../../../e2e/cluster/wait-until.ts';
import { type NodeConfig, OperatorOnCluster, type RunningOperator } from './operator-on-cluster.ts';
import { SimulatedAgents } from './simulated-agents.ts';

const NODES = 40;

let cluster: OperatorOnCluster;
let agents: SimulatedAgents;
let running: RunningOperator;

before(async () => {
  cluster = await OperatorOnCluster.start();
  const objects = Array.from({ length: NODES }, (_, i) => ({
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name: `node-${i}` },
    status: { conditions: [{ type: 'Ready', status: 'True', reason: 'Test', message: '' }] },
  }));
  await cluster.controlPlane.apply(...objects);
  for (const { metadata } of objects) await cluster.setNodeReady(metadata.name, true);
  agents = new SimulatedAgents(cluster.access);
  cluster.onStop(() => agents.stop());
  running = cluster.runOperator();
  // Canaries are nodes with an agent; wait until all have been heard of.
  await waitUntil(
    'all agents',
    async () => (await configs()).filter(({ status }) => status !== undefined).length === NODES,
  );
});
after(() => cluster?.stop());

const rollout = { canary: { percent: 5, pause: '2s' }, maxUnavailable: '10%' };
const policy = (frequencyHz: number, more: object = {}) => ({
  target: { allPods: true },
  sampling: { frequencyHz },
  rollout: { ...rollout, ...more },
});

async function configs(): Promise<NodeConfig[]> {
  return (JSON.parse(await cluster.controlPlane.kubectl('get', 'npc', '-o', 'json')) as { items: NodeConfig[] }).items;
}

/** How many nodes run at each frequency. */
async function frequencies(): Promise<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (const { spec } of await configs()) {
    const hz = spec.rules[0]?.frequencyHz ?? 'none';
    counts[hz] = (counts[hz] ?? 0) + 1;
  }
  return counts;
}

const phaseIs = (phase: string) =>
  waitUntil(
    `phase ${phase}`,
    async () => {
      const { status } = await cluster.policy('all');
      return status?.rollout?.phase === phase && status;
    },
    { timeout: 60_000 },
  );

test('the first revision reaches all nodes by way of canaries', async () => {
  await cluster.applyPolicy('all', policy(19));
  await cluster.waitForCondition('all', 'Progressing', 'True', 'CanaryPaused');
  assert.deepEqual(await frequencies(), { none: 38, 19: 2 });
  const status = await phaseIs('Complete');
  assert.equal(status.lastGood?.revision, status.rollout?.revision);
  await cluster.waitForCondition('all', 'Ready', 'True');
  assert.deepEqual(await frequencies(), { 19: 40 });
});

test('canaries that refuse: rolled back, nobody else was touched, and the reason is told once', async () => {
  agents.behaviour = (_node, { spec }) => (spec.rules[0]?.frequencyHz === 99 ? { refuse: 'VerifierRejected' } : {});
  const from = cluster.writes().length;
  await cluster.applyPolicy('all', policy(99));
  const status = await phaseIs('RolledBack');
  assert.match(status.rollout?.message ?? '', /2 of 2 nodes failed, 0 allowed; node-\d+: VerifierRejected: simulated/);
  await cluster.waitForCondition('all', 'Ready', 'False', 'RolledBack');
  await waitUntil('the last good revision everywhere', async () => (await frequencies())[19] === NODES);
  const touched = cluster
    .writes(from)
    .filter(({ resource, agent }) => resource === 'nodeprofilingconfigs' && agent.startsWith('plumbline-operator'));
  assert.equal(new Set(touched.map(({ name }) => name)).size, 2);
  const events = JSON.parse(
    await cluster.controlPlane.kubectl('get', 'events.events.k8s.io', '-n', 'default', '-o', 'json'),
  ) as { items: { reason: string; type: string }[] };
  const rolledBack = events.items.filter(({ reason }) => reason === 'RolledBack');
  assert.deepEqual(
    rolledBack.map(({ type }) => type),
    ['Warning'],
  );
});

test('a new leader leaves a rolled back revision alone', async () => {
  await running.stop();
  const from = cluster.writes().length;
  running = cluster.runOperator();
  await waitUntil('a look at the policy', async () =>
    /reconcile_total\{controller="profilingpolicy.rollout",result="requeue_after"\} [1-9]/.test(
      (await running.probe('/metrics')).text,
    ),
  );
  assert.deepEqual(await frequencies(), { 19: 40 });
  const writes = cluster
    .writes(from)
    .filter(({ resource, agent }) => resource === 'nodeprofilingconfigs' && agent.startsWith('plumbline-operator'));
  assert.deepEqual(writes, []);
});

test('nodes that get worse with the revision stop it half way; Pause leaves them as they are', async () => {
  agents.behaviour = (node, { spec }) =>
    spec.rules[0]?.frequencyHz === 199 && Number(node.split('-')[1]) % 2 === 0 ? { degrade: 'TruncationHigh' } : {};
  await cluster.applyPolicy('all', policy(199, { canary: undefined, onFailure: 'Pause', maxFailed: 1 }));
  await phaseIs('Failed');
  await cluster.waitForCondition('all', 'Degraded', 'True', 'TruncationHigh');
  const counts = await frequencies();
  assert.ok(counts[199] >= 2 && counts[199] < 20, JSON.stringify(counts));
  assert.equal(counts[19] + counts[199], NODES);
  const { status } = await cluster.policy('all');
  assert.ok(status!.failingNodes!.length >= 2);
  assert.equal(status!.failingNodes![0].reason, 'TruncationHigh');
});

test('a better revision goes through, never more than a tenth of the nodes at a time', async () => {
  let waiting = 0;
  let most = 0;
  const pending = new Set<string>();
  agents.behaviour = (node, { spec }) => {
    if (spec.rules[0]?.frequencyHz !== 49) return {};
    if (!pending.has(node)) {
      pending.add(node);
      waiting += 1;
      most = Math.max(most, waiting);
      setTimeout(() => {
        waiting -= 1;
        answered.add(node);
        agents.wake(node);
      }, 300);
    }
    return answered.has(node) ? {} : { silent: true };
  };
  const answered = new Set<string>();
  await cluster.applyPolicy('all', policy(49));
  await phaseIs('Complete');
  await cluster.waitForCondition('all', 'Ready', 'True');
  assert.deepEqual(await frequencies(), { 49: 40 });
  assert.ok(most <= 4, `${most} nodes at a time`);
  agents.behaviour = () => ({});
});

test('paused: nodes keep what they have until it is lifted', async () => {
  await cluster.applyPolicy('all', { ...policy(7), paused: true });
  await cluster.waitForCondition('all', 'Progressing', 'False', 'Paused');
  assert.deepEqual(await frequencies(), { 49: 40 });
  await cluster.applyPolicy('all', { ...policy(7), paused: false });
  await phaseIs('Complete');
  assert.deepEqual(await frequencies(), { 7: 40 });
});

test('smell 15, SIGTERM during a rollout loses nothing: the next one goes on where it stopped', async () => {
  agents.behaviour = (_node, { spec }) => (spec.rules[0]?.frequencyHz === 11 && !answering ? { silent: true } : {});
  let answering = false;
  await cluster.applyPolicy('all', policy(11, { canary: undefined }));
  await waitUntil('the first batch', async () => (await frequencies())[11] === 4);
  await running.stop();
  answering = true;
  running = cluster.runOperator();
  agents.wake();
  await phaseIs('Complete');
  assert.deepEqual(await frequencies(), { 11: 40 });
});
