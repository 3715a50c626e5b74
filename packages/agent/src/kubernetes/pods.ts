// SPDX-License-Identifier: Apache-2.0
/**
 * The pods of this node, from a watch with `spec.nodeName=<node>`, which the API server indexes. What is gone is kept for
 * a while: samples of it are still on their way. The pods are kept on disk too, so that an agent that starts while the API
 * server is away knows them.
 */
import { type Change, type KubeObject, Reflector, type ReflectorOptions, type Transport } from '@plumbline/kube';
import type { Clock } from '../clock.ts';
import type { Logger } from '../log.ts';
import type { FoundPod, PodDirectory } from '../workloads/workload.ts';
import { KeptPods } from './kept-pods.ts';
import { type NodePod, parsePod } from './pod.ts';

export interface NodePodsOptions {
  readonly transport: Transport;
  readonly nodeName: string;
  /** Where the pods are kept for the next start. */
  readonly stateDirectory: string;
  readonly log: Logger;
  readonly clock: Clock;
  readonly reflector?: Partial<ReflectorOptions<NodePod>>;
}

/** How long containers and pods are known after their end: ms. */
const KEEP_GONE_MS = 60_000;
const SWEEP_MS = 10_000;
/** Changes that come together are told of together: ms. A Deployment's rollout makes dozens. */
const DEBOUNCE_MS = 200;

interface Kept<T> {
  readonly value: T;
  /** On the wall clock; undefined: it is there. */
  goneAt: number | undefined;
}

export class NodePods implements PodDirectory {
  readonly #options: NodePodsOptions;
  readonly #reflector: Reflector<NodePod>;
  readonly #byContainer = new Map<string, Kept<FoundPod>>();
  /** By the uid in the paths of control groups. */
  readonly #byUid = new Map<string, Kept<FoundPod>>();
  readonly #listeners: (() => void)[] = [];
  readonly #kept: KeptPods;
  #telling = false;
  #isSaved = true;

  constructor(options: NodePodsOptions) {
    this.#options = options;
    this.#kept = new KeptPods(options.stateDirectory, options.nodeName);
    this.#reflector = new Reflector<NodePod>({
      transport: options.transport,
      path: '/api/v1/pods',
      name: 'pods',
      fieldSelector: `spec.nodeName=${options.nodeName}`,
      fromCache: true,
      convert: (object: KubeObject) => parsePod(object),
      onChange: (change) => this.#take(change),
      onSynced: () => this.#forgetOthers(),
      onError: (error) => options.log.warn('pods cannot be watched, trying again', { error }),
      ...options.reflector,
    });
  }

  /** Runs until the signal aborts. Never rejects. */
  async run(signal: AbortSignal): Promise<void> {
    for (const pod of this.#kept.load()) this.#add(pod);
    const stopSweeping = this.#options.clock.every(SWEEP_MS, () => this.#sweep());
    try {
      await this.#reflector.run(signal);
    } finally {
      stopSweeping();
    }
  }

  /** Whether the pods were listed once. */
  get synced(): boolean {
    return this.#reflector.synced;
  }

  get watching(): boolean {
    return this.#reflector.watching;
  }

  /** Pods that are there now. */
  values(): Iterable<NodePod> {
    return this.#reflector.values();
  }

  find(containerId: string, podUid?: string): FoundPod | undefined {
    const byContainer = this.#byContainer.get(containerId)?.value;
    if (byContainer) return byContainer;
    // The status with the container's id comes later than the container, the pod itself is known before.
    return podUid === undefined ? undefined : this.#byUid.get(podUid)?.value;
  }

  /** Tells of changes, a moment after they came. */
  onChange(listener: () => void): void {
    this.#listeners.push(listener);
  }

  #take({ type, value, previous }: Change<NodePod>): void {
    const now = this.#options.clock.wallMs();
    const present = type === 'deleted' ? undefined : value;
    for (const id of (previous ?? value).containers.keys())
      if (!present?.containers.has(id)) mark(this.#byContainer.get(id), now);
    if (present) this.#add(present);
    else mark(this.#byUid.get(value.cgroupUid), now);
    this.#isSaved = false;
    void this.#tell();
  }

  #add({ pod, containers, cgroupUid }: NodePod): void {
    for (const [id, containerName] of containers)
      this.#byContainer.set(id, { value: { pod, containerName }, goneAt: undefined });
    this.#byUid.set(cgroupUid, { value: { pod, containerName: undefined }, goneAt: undefined });
  }

  /** What was known from the last start, and is there no more. */
  #forgetOthers(): void {
    const now = this.#options.clock.wallMs();
    const uids = new Set([...this.values()].map(({ pod }) => pod.uid));
    for (const map of [this.#byContainer, this.#byUid])
      for (const kept of map.values()) if (!uids.has(kept.value.pod.uid)) mark(kept, now);
  }

  async #tell(): Promise<void> {
    if (this.#telling) return;
    this.#telling = true;
    await this.#options.clock.sleep(DEBOUNCE_MS);
    this.#telling = false;
    for (const listener of this.#listeners) listener();
  }

  #sweep(): void {
    const before = this.#options.clock.wallMs() - KEEP_GONE_MS;
    for (const map of [this.#byContainer, this.#byUid])
      for (const [key, { goneAt }] of map) if (goneAt !== undefined && goneAt <= before) map.delete(key);
    if (this.#isSaved || !this.synced) return;
    this.#isSaved = true;
    try {
      this.#kept.save([...this.values()]);
    } catch (error) {
      this.#options.log.warn('the pods are not kept for the next start', { error });
    }
  }
}

function mark(kept: Kept<unknown> | undefined, now: number): void {
  if (kept) kept.goneAt ??= now;
}
