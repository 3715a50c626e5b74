// SPDX-License-Identifier: Apache-2.0
/** From a Pod as the API server sends it to the little that the agent keeps of it. Pure; what does not fit is left out. */
import type { KubeObject, OwnerReference } from '@plumbline/kube';
import { containerIdOfStatus } from '../metadata/container.ts';
import type { Pod } from '../workloads/workload.ts';

export interface NodePod {
  readonly pod: Pod;
  /** As control groups name the pod: its uid, or the hash of a static pod's manifest. */
  readonly cgroupUid: string;
  /** Name of the container by its id, for those that were started. */
  readonly containers: ReadonlyMap<string, string>;
  /** Names of all containers in the order of the spec, started or not. */
  readonly containerNames: readonly string[];
}

interface RawStatus {
  readonly name?: string;
  readonly containerID?: string;
  /** The container that ran before a restart: samples of it may still be on their way. */
  readonly lastState?: { readonly terminated?: { readonly containerID?: string } };
}

interface RawPod extends KubeObject {
  readonly spec?: Partial<Record<'initContainers' | 'containers' | 'ephemeralContainers', { name?: string }[]>>;
  readonly status?: Partial<
    Record<'initContainerStatuses' | 'containerStatuses' | 'ephemeralContainerStatuses', RawStatus[]>
  >;
}

/** kubelet's mark on the API's mirror of a static pod: the hash that it uses as uid. */
const MIRROR_ANNOTATION = 'kubernetes.io/config.mirror';
const TEMPLATE_HASH_LABEL = 'pod-template-hash';
/** A CronJob names its Jobs `<name>-<minutes since 1970>`. */
const SCHEDULED_JOB = /^(.+)-[0-9]{8,10}$/;

export function parsePod(object: KubeObject): NodePod {
  const { metadata, spec = {}, status = {} } = object as RawPod;
  const containers = new Map<string, string>();
  const statuses = [
    ...(status.initContainerStatuses ?? []),
    ...(status.containerStatuses ?? []),
    ...(status.ephemeralContainerStatuses ?? []),
  ];
  for (const { name, containerID, lastState } of statuses) {
    if (!name) continue;
    for (const id of [lastState?.terminated?.containerID, containerID])
      if (id) containers.set(containerIdOfStatus(id), name);
  }
  const names = [...(spec.containers ?? []), ...(spec.initContainers ?? []), ...(spec.ephemeralContainers ?? [])];
  return {
    pod: {
      namespace: metadata.namespace ?? '',
      name: metadata.name,
      uid: metadata.uid,
      labels: metadata.labels ?? {},
      owner: workloadOwner(metadata.ownerReferences ?? [], metadata.labels ?? {}),
    },
    cgroupUid: metadata.annotations?.[MIRROR_ANNOTATION] ?? metadata.uid,
    containers,
    containerNames: names.flatMap(({ name }) => (name ? [name] : [])),
  };
}

/**
 * What people call the workload: the Deployment behind a ReplicaSet and the CronJob behind a Job, by their naming rules,
 * so that no further objects need be watched. A static pod's owner is its node, which is no workload.
 */
export function workloadOwner(
  owners: readonly OwnerReference[],
  labels: Readonly<Record<string, string>>,
): Pod['owner'] {
  const owner = owners.find(({ controller }) => controller);
  if (!owner || owner.kind === 'Node') return undefined;
  const { kind, name } = owner;
  if (kind === 'ReplicaSet') {
    const suffix = `-${labels[TEMPLATE_HASH_LABEL]}`;
    if (name.endsWith(suffix) && name.length > suffix.length)
      return { kind: 'Deployment', name: name.slice(0, -suffix.length) };
  }
  if (kind === 'Job') {
    const scheduled = SCHEDULED_JOB.exec(name)?.[1];
    if (scheduled) return { kind: 'CronJob', name: scheduled };
  }
  return { kind, name };
}
