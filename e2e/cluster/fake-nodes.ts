// SPDX-License-Identifier: Apache-2.0
/**
 * Simulated nodes: Node objects that look like those of kubelets (labels, addresses, node info, Ready), without one. They
 * stay Ready for good on a control plane without controllers; with controllers the node lifecycle controller would miss
 * their leases.
 */
import type { ApiClient } from './api-client.ts';
import { KUBERNETES_VERSION } from './tool-recipes.ts';

export interface FakeNode {
  readonly name: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly kernelVersion?: string;
}

/** Names `prefix-0000` and so on, each with its labels. */
export function fakeNodes(
  count: number,
  prefix = 'fake',
  labels: (index: number) => Record<string, string> = () => ({}),
): FakeNode[] {
  return Array.from({ length: count }, (_, index) => ({
    name: `${prefix}-${String(index).padStart(4, '0')}`,
    labels: labels(index),
  }));
}

/** Creates the objects, as many at once as the client has connections. @throws Error at the first refusal. */
export async function createFakeNodes(client: ApiClient, nodes: readonly FakeNode[]): Promise<void> {
  await forEachConcurrently(nodes, async (node) => {
    const { status, body } = await client.request('POST', '/api/v1/nodes', nodeObject(node));
    if (status !== 201) throw new Error(`node ${node.name}: HTTP ${status} ${JSON.stringify(body)}`);
  });
}

/** Deletes the objects; one that is gone already is no error. */
export async function deleteFakeNodes(client: ApiClient, names: readonly string[]): Promise<void> {
  await forEachConcurrently(names, async (name) => {
    const { status, body } = await client.request('DELETE', `/api/v1/nodes/${name}`);
    if (status !== 200 && status !== 404) throw new Error(`node ${name}: HTTP ${status} ${JSON.stringify(body)}`);
  });
}

function nodeObject({ name, labels = {}, kernelVersion = '6.12.0' }: FakeNode): unknown {
  const now = new Date().toISOString();
  const architecture = 'amd64';
  return {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: {
      name,
      labels: {
        'kubernetes.io/hostname': name,
        'kubernetes.io/os': 'linux',
        'kubernetes.io/arch': architecture,
        ...labels,
      },
    },
    status: {
      capacity: { cpu: '8', memory: '32Gi', pods: '110' },
      allocatable: { cpu: '8', memory: '32Gi', pods: '110' },
      conditions: [
        { type: 'Ready', status: 'True', reason: 'KubeletReady', lastHeartbeatTime: now, lastTransitionTime: now },
      ],
      nodeInfo: {
        architecture,
        operatingSystem: 'linux',
        kernelVersion,
        kubeletVersion: KUBERNETES_VERSION,
        containerRuntimeVersion: 'containerd://2.2.0',
        osImage: 'Simulated',
        bootID: '',
        machineID: '',
        systemUUID: '',
        kubeProxyVersion: '',
      },
    },
  };
}

/** More workers than any client has connections: the client itself is the limit. */
const WORKERS = 64;

async function forEachConcurrently<T>(items: readonly T[], action: (item: T) => Promise<void>): Promise<void> {
  const queue = items.values();
  const worker = async () => {
    for (const item of queue) await action(item);
  };
  await Promise.all(Array.from({ length: WORKERS }, worker));
}
