// SPDX-License-Identifier: Apache-2.0
import { type ContainerIdentity, parseProcCgroup } from '../metadata/container.ts';
import { readCgroups } from '../processes/proc-fs.ts';
import type { ProcessImage } from '../processes/process-image.ts';
import { ATTRIBUTE, ownerAttribute } from '../profile/attribute-names.ts';
import type { Attributes } from '../profile/attribute-table.ts';
import {
  HOST,
  type PodDirectory,
  type Workload,
  type WorkloadLabels,
  workloadLabels,
  workloadName,
} from './workload.ts';

/** What every process belongs to, by its cgroup; remembered as long as its image is. */
export class Workloads {
  readonly #pods: PodDirectory | undefined;
  readonly #containerOf = new Map<number, ContainerIdentity | undefined>();

  constructor(pods?: PodDirectory) {
    this.#pods = pods;
  }

  /** A process that begins: read its cgroup. Called at fork and exec, before anything else is asked. */
  learn(tgid: number, parent: ProcessImage | undefined): void {
    // A child is where its parent is, until it runs a program of its own.
    if (parent && parent.tgid !== tgid && this.#containerOf.has(parent.tgid)) {
      this.#containerOf.set(tgid, this.#containerOf.get(parent.tgid));
      return;
    }
    const text = readCgroups(tgid);
    // Gone already: it was where it was last seen.
    const container = text === undefined ? this.#containerOf.get(tgid) : parseProcCgroup(text);
    this.#containerOf.set(tgid, container);
  }

  of(tgid: number): Workload {
    const container = this.#containerOf.get(tgid);
    if (container === undefined) return HOST;
    const { containerId, podUid } = container;
    const found = this.#pods?.find(containerId, podUid);
    return { containerId, pod: found?.pod, containerName: found?.containerName };
  }

  /** Forgets processes that are gone. */
  retain(alive: (tgid: number) => boolean): void {
    for (const tgid of this.#containerOf.keys()) if (!alive(tgid)) this.#containerOf.delete(tgid);
  }

  name(image: ProcessImage): string {
    return workloadName(this.of(image.tgid), program(image));
  }

  labels(image: ProcessImage): WorkloadLabels {
    return workloadLabels(this.of(image.tgid), program(image));
  }

  /** Resource attributes of a process. */
  describe(image: ProcessImage): Attributes {
    const { containerId, pod, containerName } = this.of(image.tgid);
    const owner = pod?.owner;
    return {
      [ATTRIBUTE.processPid]: image.tgid,
      [ATTRIBUTE.processExecutableName]: program(image),
      [ATTRIBUTE.processExecutablePath]: image.path,
      [ATTRIBUTE.containerId]: containerId,
      [ATTRIBUTE.containerName]: containerName,
      [ATTRIBUTE.namespaceName]: pod?.namespace,
      [ATTRIBUTE.podName]: pod?.name,
      [ATTRIBUTE.podUid]: pod?.uid,
      ...(owner ? { [ownerAttribute(owner.kind)]: owner.name } : {}),
      [ATTRIBUTE.serviceName]: owner?.name ?? pod?.name,
    };
  }
}

/** Name of the program that an image runs. */
export function program(image: ProcessImage): string {
  return image.path?.slice(image.path.lastIndexOf('/') + 1) || image.comm || 'unknown';
}
