// SPDX-License-Identifier: Apache-2.0
/** Two operators as processes of their own on a real API server: one acts, and the audit log proves it. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { KubernetesObject } from '../../../e2e/cluster/control-plane.ts';
import { freePorts } from '../../../e2e/cluster/free-port.ts';
import { waitUntil } from '../../../e2e/cluster/wait-until.ts';
import { OperatorOnCluster } from './operator-on-cluster.ts';

interface Lease extends KubernetesObject {
  spec: { holderIdentity: string; leaseTransitions: number };
}

let cluster: OperatorOnCluster;
before(async () => {
  cluster = await OperatorOnCluster.start();
  await cluster.addNodes('node-a', 'node-b', 'node-c');
});
after(() => cluster?.stop());

const hz = (frequencyHz: number) => ({ target: { allPods: true }, sampling: { frequencyHz } });
const reaches = (frequencyHz: number) =>
  waitUntil(
    `node-a at ${frequencyHz} Hz`,
    async () => (await cluster.config('node-a')).spec.rules[0]?.frequencyHz === frequencyHz,
    { timeout: 60_000 },
  );
const leads = (child: { log: () => string }) => child.log().includes('"message":"leading"');

test('smell 5, two replicas act: a leader that was stopped for long does not write when it wakes, and ends', async () => {
  const [portA, portB] = await freePorts(2);
  const a = cluster.spawnOperator(portA);
  await waitUntil('a to lead', () => leads(a));
  await cluster.applyPolicy('all', hz(19));
  await reaches(19);
  const b = cluster.spawnOperator(portB);
  await waitUntil('b to be ready', async () => (await fetch(`http://127.0.0.1:${portB}/readyz`)).status === 200);
  assert.equal(leads(b), false);

  a.kill('SIGSTOP');
  await waitUntil('b to take over', () => leads(b), { timeout: 60_000 });
  await cluster.applyPolicy('all', hz(29));
  await reaches(29);
  // Work is waiting for the one that wakes: its watches deliver what it missed, and to it everything looks wrong.
  await cluster.applyPolicy('more', hz(31));
  const exited = new Promise<number | null>((resolve) => a.once('exit', resolve));
  a.kill('SIGCONT');
  assert.equal(await exited, 1, a.log());
  assert.match(a.log(), /lost the lease plumbline-operator/);

  await cluster.waitForRules('node-a', 'all', 'more');
  const writers = cluster.controlPlane
    .auditEvents()
    .filter(({ objectRef, responseStatus }) => objectRef?.resource !== 'leases' && responseStatus?.code !== 409)
    .map(({ user }) => user.username)
    .filter((user) => user.startsWith('operator-'));
  const [first, second] = [`operator-${portA}`, `operator-${portB}`];
  assert.ok(writers.includes(first) && writers.includes(second));
  assert.ok(writers.lastIndexOf(first) < writers.indexOf(second), 'the writers do not overlap');
  const lease = await cluster.controlPlane.get<Lease>('lease', 'plumbline-operator', 'default');
  assert.equal(lease.spec.leaseTransitions, 1);
  assert.match(lease.spec.holderIdentity, new RegExp(`^operator-${portB}_`));
});

test('a replica that is told to stop gives the lease away, and the next one acts at once', async () => {
  const [portC, portD] = await freePorts(2);
  const name = '--lease-name=other';
  const c = cluster.spawnOperator(portC, name);
  await waitUntil('c to lead', () => leads(c));
  const d = cluster.spawnOperator(portD, name);
  await waitUntil('d to be ready', async () => (await fetch(`http://127.0.0.1:${portD}/readyz`)).status === 200);
  const exited = new Promise<number | null>((resolve) => c.once('exit', resolve));
  c.kill('SIGTERM');
  assert.equal(await exited, 0, c.log());
  await waitUntil('d to lead', () => leads(d), { timeout: 10_000 });
});
