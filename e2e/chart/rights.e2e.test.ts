// SPDX-License-Identifier: Apache-2.0
/** What the tokens of the chart's ServiceAccounts may do on a real API server, and what they may not. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';

import { ApiClient } from '../cluster/api-client.ts';
import { ControlPlane } from '../cluster/control-plane.ts';
import { createFakeNodes } from '../cluster/fake-nodes.ts';
import { CHART, helm } from '../cluster/helm.ts';
import { waitUntil } from '../cluster/wait-until.ts';

const NAMESPACE = 'profiling';
const CONFIGS = '/apis/profiling.plumbline.dev/v1alpha1/nodeprofilingconfigs';
const MERGE_PATCH = 'application/merge-patch+json';

describe('rights', { timeout: 600_000 }, () => {
  let controlPlane: ControlPlane;
  const clients: ApiClient[] = [];
  const withToken = async (account: string, ...binding: string[]) => {
    const token = (await controlPlane.kubectl('create', 'token', account, '-n', NAMESPACE, ...binding)).trim();
    const client = new ApiClient(controlPlane.server, controlPlane.certificateAuthority, token);
    clients.push(client);
    return client;
  };

  before(async () => {
    controlPlane = await ControlPlane.start();
    const nodes = ['node-a', 'node-b'];
    const admin = controlPlane.client();
    clients.push(admin);
    await createFakeNodes(
      admin,
      nodes.map((name) => ({ name })),
    );
    await helm(
      ['install', 'plumbline', CHART, '--namespace', NAMESPACE, '--create-namespace'],
      controlPlane.kubeconfig,
    );
    await controlPlane.kubectl(
      'wait',
      '--for=condition=Established',
      'crd',
      '-l',
      'app.kubernetes.io/part-of=plumbline',
    );
    const operator = await withToken('plumbline-operator');
    for (const name of nodes) {
      const object = {
        apiVersion: 'profiling.plumbline.dev/v1alpha1',
        kind: 'NodeProfilingConfig',
        metadata: { name },
        spec: { configHash: '0123456789abcdef', rules: [] },
      };
      const path = `${CONFIGS}/${name}?fieldManager=plumbline-operator`;
      const answer = await operator.request('PATCH', path, object, 'application/apply-patch+yaml');
      assert.equal(answer.status, 201, JSON.stringify(answer.body));
    }
    await controlPlane.apply({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'agent-on-a', namespace: NAMESPACE },
      spec: {
        nodeName: 'node-a',
        serviceAccountName: 'plumbline-agent',
        containers: [{ name: 'agent', image: 'none' }],
      },
    });
  });
  after(async () => {
    for (const client of clients) client.close();
    await controlPlane?.stop();
  });

  const setStatus = (client: ApiClient, name: string) =>
    client.request<{ message?: string }>(
      'PATCH',
      `${CONFIGS}/${name}/status`,
      { status: { agentVersion: '0' } },
      MERGE_PATCH,
    );

  it('an agent writes the status of its own node and of no other', async () => {
    const agent = await withToken('plumbline-agent', '--bound-object-kind=Pod', '--bound-object-name=agent-on-a');
    // The API server takes a moment until it enforces a new policy.
    const refusal = await waitUntil('the admission policy', async () => {
      const answer = await setStatus(agent, 'node-b');
      return answer.status === 403 && answer.body;
    });
    assert.match(refusal.message!, /agent on node node-a may not write node-b/);
    const own = await setStatus(agent, 'node-a');
    assert.equal(own.status, 200, JSON.stringify(own.body));
  });

  it('a token that is bound to nothing writes no status', async () => {
    const answer = await setStatus(await withToken('plumbline-agent'), 'node-a');
    assert.equal(answer.status, 403);
    assert.match(answer.body.message!, /no node-name claim/);
  });

  it('an agent changes no spec, deletes nothing, reads no secret', async () => {
    const agent = await withToken('plumbline-agent', '--bound-object-kind=Pod', '--bound-object-name=agent-on-a');
    const refused: [string, string, unknown?][] = [
      ['PATCH', `${CONFIGS}/node-a`, { spec: { configHash: 'fedcba9876543210' } }],
      ['DELETE', `${CONFIGS}/node-a`],
      [
        'POST',
        CONFIGS,
        { apiVersion: 'profiling.plumbline.dev/v1alpha1', kind: 'NodeProfilingConfig', metadata: { name: 'node-c' } },
      ],
      ['GET', `/api/v1/namespaces/${NAMESPACE}/secrets`],
      ['GET', '/api/v1/nodes'],
      ['GET', '/apis/profiling.plumbline.dev/v1alpha1/profilingpolicies'],
      ['POST', `/api/v1/namespaces/${NAMESPACE}/pods`, { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'x' } }],
      ['PATCH', `/apis/coordination.k8s.io/v1/namespaces/${NAMESPACE}/leases/plumbline-operator`, {}],
    ];
    for (const [method, path, body] of refused) {
      const { status } = await agent.request(method, path, body, method === 'PATCH' ? MERGE_PATCH : undefined);
      assert.equal(status, 403, `${method} ${path}`);
    }
    const { status } = await agent.request('GET', '/api/v1/pods?fieldSelector=spec.nodeName=node-a');
    assert.equal(status, 200, 'it may list the pods of its node');
  });

  it('the operator writes no status of a node, reads no secret and holds only its own lease', async () => {
    const operator = await withToken('plumbline-operator');
    const leases = `/apis/coordination.k8s.io/v1/namespaces/${NAMESPACE}/leases`;
    const lease = (name: string) => ({ apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', metadata: { name } });
    assert.equal((await setStatus(operator, 'node-a')).status, 403);
    assert.equal((await operator.request('GET', `/api/v1/namespaces/${NAMESPACE}/secrets`)).status, 403);
    assert.equal((await operator.request('GET', '/api/v1/pods')).status, 403);
    assert.equal((await operator.request('POST', leases, lease('plumbline-operator'))).status, 201);
    assert.equal((await operator.request('PATCH', `${leases}/plumbline-operator`, {}, MERGE_PATCH)).status, 200);
    assert.equal((await operator.request('PATCH', `${leases}/another`, {}, MERGE_PATCH)).status, 403);
  });

  it('both record events about cluster-scoped objects', async () => {
    for (const account of ['plumbline-agent', 'plumbline-operator']) {
      const client = await withToken(account);
      const event = {
        apiVersion: 'events.k8s.io/v1',
        kind: 'Event',
        metadata: { name: `of-${account}` },
        eventTime: new Date().toISOString().replace('Z', '000Z'),
        action: 'Test',
        reason: 'Tested',
        type: 'Normal',
        reportingController: 'plumbline.dev/test',
        reportingInstance: 'test',
        regarding: { apiVersion: 'profiling.plumbline.dev/v1alpha1', kind: 'NodeProfilingConfig', name: 'node-a' },
      };
      const answer = await client.request('POST', '/apis/events.k8s.io/v1/namespaces/default/events', event);
      assert.equal(answer.status, 201, JSON.stringify(answer.body));
    }
  });
});
