// SPDX-License-Identifier: Apache-2.0
/** From `kubectl apply` of a policy to every node's object and back to the policy's status, on a real API server. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { ADVICE } from '@plumbline/api';
import { waitUntil } from '../../../e2e/cluster/wait-until.ts';
import { OperatorOnCluster, type RunningOperator } from './operator-on-cluster.ts';
import { SimulatedAgents } from './simulated-agents.ts';

let cluster: OperatorOnCluster;
let agents: SimulatedAgents;
let running: RunningOperator;

before(async () => {
  cluster = await OperatorOnCluster.start();
  await cluster.addNodes('node-a', 'node-b', { name: 'node-c', labels: { pool: 'special' } });
  await cluster.addNodes({ name: 'windows', labels: { 'kubernetes.io/os': 'windows' } });
  for (const [name, team] of [
    ['payments', 'payments'],
    ['search', 'search'],
  ]) {
    await cluster.controlPlane.apply({ apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels: { team } } });
  }
  agents = new SimulatedAgents(cluster.access);
  cluster.onStop(() => agents.stop());
  running = cluster.runOperator();
});
after(() => cluster?.stop());

const payments = { target: { namespaceSelector: { matchLabels: { team: 'payments' } } }, priority: 10 };

test('every Linux node gets an object, owned by it, before there is any policy', async () => {
  for (const name of ['node-a', 'node-b', 'node-c']) {
    const config = await cluster.waitForRules(name);
    const node = await cluster.controlPlane.get('node', name);
    assert.equal(config.metadata.ownerReferences[0].uid, node.metadata.uid);
  }
  await assert.rejects(cluster.config('windows'), /not found/);
});

test('a policy reaches its nodes, the agents answer, and it is Ready', async () => {
  await cluster.applyPolicy('payments', payments);
  const ready = await cluster.waitForCondition('payments', 'Ready', 'True');
  assert.equal(ready.message, '3 of 3 nodes run the current revision.');
  const { spec } = await cluster.config('node-a');
  assert.deepEqual(spec.rules[0].namespaces, ['payments']);
  const { status } = await cluster.policy('payments');
  assert.deepEqual(status?.nodes, { targeted: 3, updated: 3, applied: 3, failed: 0, notReporting: 0 });
  assert.deepEqual(status?.strategies, [{ name: 'Loop', nodes: 3 }]);
  assert.deepEqual(status?.kernels, [{ name: '6.1', nodes: 3 }]);
  assert.deepEqual(
    status?.kernelLimits?.map(({ feature, since, nodes }) => [feature, since, nodes]),
    [
      ['numberIterator', '6.4', 3],
      ['taskWork', '6.18', 3],
    ],
  );
  assert.equal(status?.rollout?.phase, 'Complete');
  assert.equal(status?.lastGood?.revision, spec.rules[0].policy.revision);
});

test('smell 15, bad UX: kubectl wait and kubectl get say what is', async () => {
  await cluster.controlPlane.kubectl('wait', '--for=condition=Ready', 'profpol/payments', '--timeout=30s');
  const [, row] = (await cluster.controlPlane.kubectl('get', 'profpol', 'payments')).split('\n');
  assert.match(row, /^payments +True +3 +3 +0 +0 +\d+s$/);
  const [, node] = (await cluster.controlPlane.kubectl('get', 'npc', 'node-a')).split('\n');
  assert.match(node, /^node-a +True +Loop +6\.1\.0-28-cloud-amd64 +0 +payments +\d+s$/);
});

test('smell 15, two policies on one pod: the loser is Conflicted and names the winner; deleting the winner restores it', async () => {
  await cluster.applyPolicy('winner', { target: { allPods: true }, priority: 100 });
  const conflict = await cluster.waitForCondition('payments', 'Conflicted', 'True', 'OverriddenByHigherPriority');
  assert.match(conflict.message, /decided by ProfilingPolicy "winner" on [123] node/);
  await cluster.waitForRules('node-a', 'winner', 'payments');
  await cluster.waitForCondition('winner', 'Conflicted', 'False');
  await waitUntil('conflict on all nodes', async () =>
    (await cluster.policy('payments')).status?.conditions?.some(({ message }) => /"winner" on 3 nodes/.test(message)),
  );
  await cluster.controlPlane.kubectl('delete', 'profpol', 'winner');
  await cluster.waitForCondition('payments', 'Conflicted', 'False', 'NoConflict');
  await cluster.waitForCondition('payments', 'Ready', 'True');
  await cluster.waitForRules('node-a', 'payments');
});

test('node labels and namespace labels are followed', async () => {
  await cluster.applyPolicy('special', {
    target: { allPods: true },
    nodeSelector: { matchLabels: { pool: 'special' } },
  });
  await cluster.waitForRules('node-c', 'payments', 'special');
  await cluster.waitForRules('node-a', 'payments');
  await cluster.controlPlane.kubectl('label', 'node', 'node-a', 'pool=special');
  await cluster.waitForRules('node-a', 'payments', 'special');
  await cluster.controlPlane.kubectl('label', 'namespace', 'search', 'team=payments', '--overwrite');
  await waitUntil(
    'both namespaces',
    async () => (await cluster.config('node-b')).spec.rules[0].namespaces.join() === 'payments,search',
  );
  await cluster.controlPlane.kubectl('label', 'namespace', 'search', 'team=search', '--overwrite');
  await waitUntil(
    'one namespace',
    async () => (await cluster.config('node-b')).spec.rules[0].namespaces.join() === 'payments',
  );
  await cluster.controlPlane.kubectl('delete', 'profpol', 'special');
  await cluster.waitForRules('node-c', 'payments');
});

test('smell 15, bad UX: each kind of emptiness has a reason of its own', async () => {
  await cluster.applyPolicy('nowhere', { target: { allPods: true }, nodeSelector: { matchLabels: { pool: 'none' } } });
  await cluster.waitForCondition('nowhere', 'Ready', 'False', 'NoMatchingNodes');
  await cluster.applyPolicy('nobody', { target: { namespaceSelector: { matchLabels: { team: 'none' } } } });
  await cluster.waitForCondition('nobody', 'Ready', 'False', 'NoMatchingNamespaces');
  await cluster.controlPlane.kubectl('delete', 'profpol', 'nowhere', 'nobody');
});

test('ObjectiveMet follows the reports, with the worst workload and the top reason', async () => {
  await cluster.waitForCondition('payments', 'ObjectiveMet', 'True', 'WithinObjective');
  agents.behaviour = (node) => ({ truncatedRatio: node === 'node-a' ? 0.3 : 0 });
  agents.wake();
  const missed = await cluster.waitForCondition('payments', 'ObjectiveMet', 'False', 'TruncationHigh');
  assert.equal(
    missed.message,
    'Truncated ratio 0.1, objective 0.01, usually 0.002; worst: payments/api; mostly no_unwind_info in /opt/libfoo.so ' +
      `(build id abcd); ${ADVICE.no_unwind_info.todo}.`,
  );
  const { status } = await cluster.policy('payments');
  assert.deepEqual(status?.truncation, {
    ratio: '0.1',
    baselineRatio: '0.002',
    depth: 31,
    baselineDepth: 42,
    samples: 30_000,
    worstWorkload: 'payments/api',
    topReason: 'no_unwind_info',
    topFile: '/opt/libfoo.so (build id abcd)',
    degradedNodes: 1,
    worstNode: 'node-a',
  });
  const page = await running.probe('/');
  assert.match(
    page.text,
    /<p class="verdict bad">Policy <b>payments<\/b>: 10\.0 % .*<b>payments\/api<\/b> has the most/,
  );
  agents.behaviour = () => ({});
  agents.wake();
  await cluster.waitForCondition('payments', 'ObjectiveMet', 'True');
});

test('smell 15, spam: what happened is in a handful of events', async () => {
  const list = JSON.parse(
    await cluster.controlPlane.kubectl('get', 'events.events.k8s.io', '-n', 'default', '-o', 'json'),
  ) as {
    items: { reason: string; regarding: { name: string; kind: string }; reportingController: string }[];
  };
  const reasons = list.items.filter(({ regarding }) => regarding.name === 'payments').map(({ reason }) => reason);
  for (const reason of ['RolloutComplete', 'AllNodesApplied', 'OverriddenByHigherPriority', 'TruncationHigh']) {
    assert.ok(reasons.includes(reason), `${reason} in ${reasons}`);
  }
  assert.ok(reasons.length <= 14, `${reasons}`);
  for (const reason of ['TruncationHigh', 'WithinObjective'])
    assert.equal(reasons.filter((other) => other === reason).length, 1, `${reason} in ${reasons}`);
});

test('smell 7, hot loop: an idle cluster sees no write at all', async () => {
  await cluster.waitForCondition('payments', 'Ready', 'True');
  // Everything that is under way has come to rest when nothing was written for a while.
  let last = -1;
  let restedAt = performance.now();
  await waitUntil('rest', () => {
    const count = cluster.writes().length;
    if (count !== last) {
      last = count;
      restedAt = performance.now();
    }
    return performance.now() - restedAt > 8_000;
  });
  const from = cluster.writes().length;
  const before = (await running.probe('/metrics')).text;
  const reconciles = (text: string) =>
    Number(
      /controller_runtime_reconcile_total\{controller="profilingpolicy.rollout",result="requeue_after"\} (\d+)/.exec(
        text,
      )?.[1],
    );
  // Policies are looked at once a minute; wait until that has happened.
  await waitUntil(
    'an idle reconcile',
    async () => reconciles((await running.probe('/metrics')).text) > reconciles(before),
    { timeout: 90_000 },
  );
  assert.deepEqual(
    cluster.writes(from).filter(({ agent }) => agent.startsWith('plumbline-operator')),
    [],
  );
});

test('metrics have the names that dashboards know', async () => {
  const { text } = await running.probe('/metrics');
  for (const name of [
    'controller_runtime_reconcile_total{controller="nodeprofilingconfig.apply",result="success"}',
    'controller_runtime_reconcile_time_seconds_bucket',
    'workqueue_depth{name="profilingpolicy.rollout"} 0',
    'workqueue_adds_total',
    'rest_client_requests_total{code="200",method="PATCH"',
    'rest_client_request_duration_seconds_bucket',
    'reflector_lists_total{name="nodes"} 1',
    'plumbline_policy_nodes{policy="payments",state="applied"} 3',
    'plumbline_nodes{strategy="Loop",kernel="6.1"} 3',
    'plumbline_nodes_kernel_lacks{feature="taskWork",since="6.18"} 3',
    'plumbline_policy_baseline_ratio{policy="payments"} 0.002',
    'process_resident_memory_bytes',
  ]) {
    assert.ok(text.includes(name), name);
  }
  assert.deepEqual(await running.probe('/readyz'), { status: 200, text: 'ok\n' });
  assert.deepEqual(await running.probe('/healthz'), { status: 200, text: 'ok\n' });
});
