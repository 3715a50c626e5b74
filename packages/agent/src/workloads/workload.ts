// SPDX-License-Identifier: Apache-2.0
/** What a process belongs to. */

/** The pod of a container, as far as its node knows it. */
export interface Pod {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly labels: Readonly<Record<string, string>>;
  /** The controller that the pod exists for: a Deployment rather than its ReplicaSet. */
  readonly owner: { readonly kind: string; readonly name: string } | undefined;
}

export interface Workload {
  /** From the control group; undefined: a process of the host. */
  readonly containerId: string | undefined;
  /** Undefined where the container belongs to no pod that is known. */
  readonly pod: Pod | undefined;
  readonly containerName: string | undefined;
}

export const HOST: Workload = { containerId: undefined, pod: undefined, containerName: undefined };

export interface FoundPod {
  readonly pod: Pod;
  /** Undefined while only the pod is known. */
  readonly containerName: string | undefined;
}

/** Finds the pod of a container: by its id, or by the uid that the path of its control group names. */
export interface PodDirectory {
  find(containerId: string, podUid?: string): FoundPod | undefined;
}

/** What metrics tell apart. Namespace and container are empty outside of pods. */
export interface WorkloadLabels {
  readonly namespace: string;
  /** The pod's owner, else the container's id, else the program. */
  readonly workload: string;
  readonly container: string;
}

export function workloadLabels({ pod, containerId, containerName }: Workload, program: string): WorkloadLabels {
  if (pod) return { namespace: pod.namespace, workload: pod.owner?.name ?? pod.name, container: containerName ?? '' };
  return { namespace: '', workload: containerId?.slice(0, 12) ?? program, container: '' };
}

/** For tables and messages: `namespace/owner`, else the container's id, else the program. */
export function workloadName(workload: Workload, program: string): string {
  const { namespace, workload: name } = workloadLabels(workload, program);
  return namespace === '' ? name : `${namespace}/${name}`;
}
