// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { KubeObject } from '@plumbline/kube';
import fc from 'fast-check';
import { parsePod, workloadOwner } from './pod.ts';

const ID = (digit: string) => digit.repeat(64);
const META = {
  name: 'checkout-7d9c-x2x4z',
  namespace: 'shop',
  uid: '0f4e7a5c-1111-2222-3333-444455556666',
  resourceVersion: '7',
  creationTimestamp: '2026-01-01T00:00:00Z',
};
const pod = (more: object, metadata: object = {}) =>
  ({ metadata: { ...META, ...metadata }, ...more }) as unknown as KubeObject;

describe('parsePod', () => {
  it('keeps name, labels and the ids of all kinds of containers', () => {
    const parsed = parsePod(
      pod(
        {
          spec: { containers: [{ name: 'api' }, { name: 'late' }], initContainers: [{ name: 'migrate' }] },
          status: {
            containerStatuses: [{ name: 'api', containerID: `containerd://${ID('a')}` }, { name: 'late' }],
            initContainerStatuses: [{ name: 'migrate', containerID: `cri-o://${ID('b')}` }],
            ephemeralContainerStatuses: [{ name: 'debugger', containerID: `docker://${ID('c')}` }],
          },
        },
        { labels: { app: 'checkout' } },
      ),
    );
    assert.deepEqual(
      [...parsed.containers],
      [
        [ID('b'), 'migrate'],
        [ID('a'), 'api'],
        [ID('c'), 'debugger'],
      ],
    );
    assert.deepEqual(parsed.containerNames, ['api', 'late', 'migrate']);
    assert.deepEqual(parsed.pod, {
      namespace: 'shop',
      name: META.name,
      uid: META.uid,
      labels: { app: 'checkout' },
      owner: undefined,
    });
  });

  it('still knows the container that ran before a restart', () => {
    const status = {
      containerStatuses: [
        {
          name: 'api',
          containerID: `containerd://${ID('b')}`,
          lastState: { terminated: { containerID: `containerd://${ID('a')}` } },
        },
      ],
    };
    assert.deepEqual([...parsePod(pod({ status })).containers.keys()], [ID('a'), ID('b')]);
  });

  it('takes the hash of the manifest as the uid of a static pod in the paths of control groups', () => {
    const annotations = { 'kubernetes.io/config.mirror': '52a4e6d4a3e0e4f1b0c9d8e7f6a5b4c3' };
    assert.equal(parsePod(pod({}, { annotations })).cgroupUid, '52a4e6d4a3e0e4f1b0c9d8e7f6a5b4c3');
    assert.equal(parsePod(pod({})).cgroupUid, META.uid);
  });

  it('takes any status that fits its types', () => {
    const text = fc.option(fc.string(), { nil: undefined });
    const status = fc.record({ name: text, containerID: text }, { requiredKeys: [] });
    fc.assert(
      fc.property(fc.array(status), fc.array(fc.record({ name: text })), (containerStatuses, containers) => {
        const parsed = parsePod(pod({ spec: { containers }, status: { containerStatuses } }));
        for (const [id, name] of parsed.containers) assert.ok(id.length >= 0 && name.length > 0);
        assert.ok(parsed.containers.size <= containerStatuses.length);
      }),
    );
  });
});

describe('workloadOwner', () => {
  const owner = (kind: string, name: string, controller = true) => [
    { apiVersion: 'x/v1', kind, name, uid: 'u', controller },
  ];

  const cases: [string, string, Record<string, string>, { kind: string; name: string } | undefined][] = [
    ['ReplicaSet', 'checkout-7d9c', { 'pod-template-hash': '7d9c' }, { kind: 'Deployment', name: 'checkout' }],
    ['ReplicaSet', 'bare', {}, { kind: 'ReplicaSet', name: 'bare' }],
    ['ReplicaSet', 'other-1', { 'pod-template-hash': '7d9c' }, { kind: 'ReplicaSet', name: 'other-1' }],
    ['StatefulSet', 'ledger', {}, { kind: 'StatefulSet', name: 'ledger' }],
    ['DaemonSet', 'agent', {}, { kind: 'DaemonSet', name: 'agent' }],
    ['Job', 'report-29401230', {}, { kind: 'CronJob', name: 'report' }],
    ['Job', 'migrate-3', {}, { kind: 'Job', name: 'migrate-3' }],
    ['Node', 'node-0', {}, undefined],
  ];
  for (const [kind, name, labels, expected] of cases) {
    it(`is ${expected ? `${expected.kind} ${expected.name}` : 'nothing'} for ${kind} ${name}`, () => {
      assert.deepEqual(workloadOwner(owner(kind, name), labels), expected);
    });
  }

  it('is nothing without a controller', () => {
    assert.equal(workloadOwner(owner('ConfigMap', 'x', false), {}), undefined);
    assert.equal(workloadOwner([], {}), undefined);
  });
});
