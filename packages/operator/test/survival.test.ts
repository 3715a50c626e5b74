// SPDX-License-Identifier: Apache-2.0
/** What happens to clusters, happens to the operator: each time it must find its own way back. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { freePorts } from '../../../e2e/cluster/free-port.ts';
import { waitUntil } from '../../../e2e/cluster/wait-until.ts';
import { OperatorOnCluster, type RunningOperator } from './operator-on-cluster.ts';
import { SimulatedAgents } from './simulated-agents.ts';

let cluster: OperatorOnCluster;
let running: RunningOperator;
let agents: SimulatedAgents;

const everything = { target: { allPods: true } };
const hz = (frequencyHz: number) => ({ ...everything, sampling: { frequencyHz } });
const frequencyOf = async (node: string) => (await cluster.config(node)).spec.rules[0]?.frequencyHz;
const reaches = (node: string, frequencyHz: number) =>
  waitUntil(`${node} at ${frequencyHz} Hz`, async () => (await frequencyOf(node)) === frequencyHz, { timeout: 60_000 });

before(async () => {
  cluster = await OperatorOnCluster.start({ crds: false });
  await cluster.addNodes('node-a', 'node-b');
  running = cluster.runOperator({ watchIdleMs: 5_000 });
});
after(() => cluster?.stop());

test('smell 10, CRDs missing at the start: not ready, says why, and begins when they are installed', async () => {
  await waitUntil('the probe', () => running.operator.port > 0);
  const { status, text } = await running.probe('/readyz');
  assert.equal(status, 503);
  await waitUntil('the reason', async () =>
    /profilingpolicies: not listed yet: .*404.*are the CRDs installed/.test((await running.probe('/readyz')).text),
  );
  assert.match(text, /not listed yet/);
  await cluster.installCrds();
  agents = new SimulatedAgents(cluster.access);
  cluster.onStop(() => agents.stop());
  await cluster.applyPolicy('all', hz(19));
  await cluster.waitForCondition('all', 'Ready', 'True');
  assert.equal((await running.probe('/readyz')).status, 200);
});

test('smell 1, API server killed and restarted: a policy that comes afterwards is applied', async () => {
  await cluster.controlPlane.kill('kube-apiserver');
  await waitUntil(
    'the operator to notice',
    () => running.lines.filter((line) => line.startsWith('watch ')).length >= 8,
  );
  await cluster.controlPlane.restart('kube-apiserver');
  await cluster.applyPolicy('all', hz(23));
  await reaches('node-a', 23);
  await reaches('node-b', 23);
});

test('smell 1, API server stopped (half-open connections): the watchdog reconnects', async () => {
  const { pid } = cluster.controlPlane.daemon('kube-apiserver');
  const before = running.lines.length;
  process.kill(pid, 'SIGSTOP');
  try {
    await waitUntil(
      'new connections',
      () => running.lines.slice(before).some((line) => /(Connect|Headers) ?Timeout/.test(line)),
      {
        timeout: 60_000,
      },
    );
  } finally {
    process.kill(pid, 'SIGCONT');
  }
  await cluster.applyPolicy('all', hz(29));
  await reaches('node-a', 29);
});

test('smell 2, missed deletes: objects that vanish while the operator is cut off are noticed', async () => {
  await cluster.applyPolicy('gone', everything);
  await cluster.waitForRules('node-a', 'all', 'gone');
  await running.stop();
  await cluster.controlPlane.kubectl('delete', 'profpol', 'gone');
  running = cluster.runOperator({ watchIdleMs: 5_000 });
  await cluster.waitForRules('node-a', 'all');
});

test('smell 8, clobbering: what others put on the objects survives, what they put into spec does not', async () => {
  await cluster.controlPlane.kubectl('annotate', 'npc', 'node-a', 'team.example/note=mine');
  await cluster.controlPlane.kubectl('label', 'npc', 'node-a', 'team.example/tier=gold');
  await cluster.controlPlane.kubectl(
    'patch',
    'npc',
    'node-a',
    '--type=merge',
    '-p',
    '{"spec":{"sampling":{"frequencyHz":500}}}',
  );
  await waitUntil('the drift to be corrected', async () => {
    const { spec } = (await cluster.config('node-a')) as { spec: { sampling?: { frequencyHz: number } } };
    return spec.sampling?.frequencyHz === 29;
  });
  const { metadata } = await cluster.config('node-a');
  assert.equal((metadata.annotations as Record<string, string>)['team.example/note'], 'mine');
  assert.equal((metadata.labels as Record<string, string>)['team.example/tier'], 'gold');
  await waitUntil('the event', async () =>
    (await cluster.controlPlane.kubectl('get', 'events', '-n', 'default')).includes('DriftCorrected'),
  );
});

test('smell 8, clobbering: an export that another manager adds, which apply leaves alone, is removed', async () => {
  await cluster.controlPlane.apply({
    apiVersion: 'profiling.plumbline.dev/v1alpha1',
    kind: 'NodeProfilingConfig',
    metadata: { name: 'node-a' },
    spec: { exports: [{ name: 'elsewhere', otlp: { endpoint: 'attacker:4317' } }], rules: [] },
  });
  await waitUntil('the foreign export to be gone', async () => {
    const { spec } = (await cluster.config('node-a')) as { spec: { exports?: unknown[]; rules: unknown[] } };
    return (spec.exports ?? []).length === 0 && spec.rules.length === 1;
  });
});

test('smell 9, node lifecycle: a deleted node loses its object, counts drop, a new one of the same name gets a new object', async () => {
  const before = await cluster.config('node-b');
  await cluster.controlPlane.kubectl('delete', 'node', 'node-b');
  await waitUntil('the object to be gone', () =>
    cluster.config('node-b').then(
      () => false,
      (error) => /not found/.test(String(error)),
    ),
  );
  await waitUntil('the count', async () => (await cluster.policy('all')).status?.nodes?.targeted === 1);
  await cluster.addNodes('node-b');
  const after = await cluster.waitForRules('node-b', 'all');
  const node = await cluster.controlPlane.get('node', 'node-b');
  assert.notEqual(after.metadata.uid, before.metadata.uid);
  assert.equal(after.metadata.ownerReferences[0].uid, node.metadata.uid);
  await waitUntil('the count', async () => (await cluster.policy('all')).status?.nodes?.applied === 2);
});

test('smell 9, node lifecycle: replaced so fast that nobody saw it gone, the object is a new one all the same', async () => {
  await running.stop();
  const before = await cluster.config('node-b');
  await cluster.controlPlane.kubectl('delete', 'node', 'node-b');
  await cluster.addNodes('node-b');
  running = cluster.runOperator({ watchIdleMs: 5_000 });
  await waitUntil('the new object', async () => (await cluster.config('node-b')).metadata.uid !== before.metadata.uid);
  await cluster.waitForCondition('all', 'Ready', 'True');
});

test('smell 9, a policy can be deleted while its nodes are dead', async () => {
  await cluster.setNodeReady('node-b', false);
  await waitUntil(
    'the node to count as silent',
    async () => (await cluster.policy('all')).status?.nodes?.notReporting === 1,
  );
  await cluster.applyPolicy('short', everything);
  await cluster.waitForCondition('short', 'Ready', 'True');
  await cluster.controlPlane.kubectl('delete', 'profpol', 'short', '--timeout=10s');
  await cluster.waitForRules('node-b', 'all');
  await cluster.setNodeReady('node-b', true);
});

test('smell 10, CRD deleted and installed again: the operator waits and goes on without a restart', async () => {
  await cluster.controlPlane.kubectl(
    'delete',
    'crd',
    'profilingpolicies.profiling.plumbline.dev',
    'nodeprofilingconfigs.profiling.plumbline.dev',
    '--timeout=60s',
  );
  await waitUntil('the operator to notice', async () =>
    running.lines.some((line) => /404 page not found|could not find/.test(line)),
  );
  await cluster.installCrds();
  await cluster.applyPolicy('all', hz(31));
  await reaches('node-a', 31);
  await cluster.waitForCondition('all', 'Ready', 'True');
});

test('smell 10, a newer CRD with more fields: what the operator does not know stays as it is', async () => {
  const patch = [
    {
      op: 'add',
      path: '/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/later',
      value: { type: 'string', default: 'on', maxLength: 9 },
    },
  ];
  for (const plural of ['profilingpolicies', 'nodeprofilingconfigs']) {
    await cluster.controlPlane.kubectl(
      'patch',
      'crd',
      `${plural}.profiling.plumbline.dev`,
      '--type=json',
      '-p',
      JSON.stringify(patch),
    );
  }
  await waitUntil('the new field', async () => {
    await cluster.applyPolicy('all', { ...hz(37), later: 'yes' });
    return (
      (await cluster.policy('all')).spec && ((await cluster.policy('all')).spec as { later?: string }).later === 'yes'
    );
  });
  await reaches('node-a', 37);
  await cluster.waitForCondition('all', 'Ready', 'True');
  const { spec } = (await cluster.config('node-a')) as { spec: { later?: string } };
  assert.equal(spec.later, 'on', 'the default of the newer schema is kept');
  assert.equal(((await cluster.policy('all')).spec as { later?: string }).later, 'yes');
  assert.ok(
    !running.lines.some((line) => /of another version/.test(line)),
    'and is no reason to write again and again',
  );
});

test('smell 3, API server down at the start: no crash, not ready, becomes ready when it appears', async () => {
  await running.stop();
  await cluster.controlPlane.kill('kube-apiserver');
  running = cluster.runOperator({ watchIdleMs: 5_000 });
  await waitUntil('attempts', () => running.lines.filter((line) => line.startsWith('watch ')).length >= 8);
  const { status, text } = await running.probe('/readyz');
  assert.equal(status, 503);
  assert.match(text, /nodes: not listed yet: .*ECONNREFUSED/);
  assert.equal((await running.probe('/healthz')).status, 200, 'a restart would not help');
  await cluster.controlPlane.restart('kube-apiserver');
  await waitUntil('ready', async () => (await running.probe('/readyz')).status === 200, { timeout: 60_000 });
  await cluster.applyPolicy('all', hz(41));
  await reaches('node-a', 41);
});

test('smell 2, 410 and missed deletes: history compacted while the operator was stopped gives one list of each collection', async () => {
  await running.stop();
  const [port] = await freePorts(1);
  const child = cluster.spawnOperator(port, '--no-leader-elect');
  const metrics = async () => (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
  const lists = (text: string) => Number(/reflector_lists_total\{name="profilingpolicies"\} (\d+)/.exec(text)?.[1]);
  await cluster.applyPolicy('doomed', everything);
  await waitUntil('the rules', () => cluster.waitForRules('node-a', 'all', 'doomed'));
  assert.equal(lists(await metrics()), 1);
  child.kill('SIGSTOP');
  await cluster.controlPlane.restart('kube-apiserver'); // ends the watches: what happens now is not in a socket's buffer
  await cluster.controlPlane.kubectl('delete', 'profpol', 'doomed');
  await compactEtcd();
  await cluster.controlPlane.restart('kube-apiserver'); // its watch cache has history of its own
  child.kill('SIGCONT');
  await cluster.waitForRules('node-a', 'all');
  const text = await metrics();
  assert.match(text, /reflector_errors_total\{name="profilingpolicies",reason="(Expired|Gone)"\} 1/);
  assert.equal(lists(text), 2);
});

/** Throws away all history but the last revision. */
async function compactEtcd(): Promise<void> {
  const { pid } = cluster.controlPlane.daemon('etcd');
  const url = /--listen-client-urls=(\S+)/.exec(readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' '))![1];
  const call = async (path: string, body: object) =>
    (await fetch(`${url}/v3/${path}`, { method: 'POST', body: JSON.stringify(body) })).json();
  const { header } = (await call('kv/range', { key: 'AA==' })) as { header: { revision: string } };
  await call('kv/compaction', { revision: header.revision, physical: true });
}
