// SPDX-License-Identifier: Apache-2.0
/** Which change makes which controller look again at which name. Reconcilers never see the change itself. */
import { isDeepStrictEqual } from 'node:util';
import type { Change, Clock, WorkQueue } from '@plumbline/kube';
import type { AgentActivity } from '../agent-activity.ts';
import type { Fleet } from '../fleet.ts';
import type { NamespaceView } from '../merge/rule.ts';
import type { PolicyState } from '../policy-state.ts';
import type { NodeConfigView, NodeView, PolicyView } from '../views.ts';

export interface TriggerOptions {
  fleet: Fleet;
  agents: AgentActivity;
  nodeQueue: WorkQueue;
  policyQueue: WorkQueue;
  clock: Clock;
}

/** Reports of many nodes come together; a policy that hears of them looks once. */
const GATHER_MS = 250;

export class Triggers {
  readonly #options: TriggerOptions;
  #namespacesChanged = false;

  constructor(options: TriggerOptions) {
    this.#options = options;
  }

  node({ type, key, value, previous }: Change<NodeView>): void {
    const { fleet, agents, nodeQueue } = this.#options;
    if (type === 'updated' && previous && sameNode(previous, value)) return;
    const before = fleet.policiesOn(previous ?? value);
    fleet.nodeChanged(key, type !== 'updated');
    if (type === 'deleted') agents.forget(key);
    nodeQueue.add(key);
    this.#policies([...before, ...fleet.policiesOn(value)]);
  }

  namespace({ type, value, previous }: Change<NamespaceView>): void {
    if (type === 'updated' && isDeepStrictEqual(previous?.labels, value.labels)) return;
    if (this.#namespacesChanged) return;
    this.#namespacesChanged = true;
    void this.#options.clock.sleep(GATHER_MS).then(() => {
      this.#namespacesChanged = false;
      if (this.#options.fleet.namespacesChanged()) this.everything();
    });
  }

  policy({ type, key, value }: Change<PolicyView>): void {
    const { fleet, nodeQueue, policyQueue, clock } = this.#options;
    const before = fleet.policy(key);
    const concerned = new Set(before && before.view.generation !== value.generation ? fleet.concernedBy(before) : []);
    if (type === 'deleted') {
      for (const name of before ? fleet.concernedBy(before) : []) concerned.add(name);
      fleet.removePolicy(key);
    } else {
      const sameSpec = before?.view.uid === value.uid && before.view.generation === value.generation;
      // The operator's own status coming back is no news; one that somebody else wrote is put right.
      const sameStatus = sameSpec && isDeepStrictEqual(before.view.status, value.status);
      fleet.setPolicy(value, clock.now());
      if (!sameStatus) policyQueue.add(key);
      if (!sameSpec) for (const name of fleet.concernedBy(fleet.policy(key)!)) concerned.add(name);
    }
    for (const name of concerned) nodeQueue.addAfter(name, GATHER_MS);
  }

  config({ type, key, value, previous }: Change<NodeConfigView>): void {
    const { fleet, agents, nodeQueue } = this.#options;
    const wasAlive = agents.isAlive(key);
    if (type === 'deleted') agents.forget(key);
    else agents.observe(value);
    const sameSpec =
      previous?.actualHash === value.actualHash &&
      previous.ownerUid === value.ownerUid &&
      previous.configHash === value.configHash;
    if (type !== 'updated' || !sameSpec) nodeQueue.add(key);
    const heartbeat = { lastHeartbeat: undefined };
    const sameStatus =
      previous && isDeepStrictEqual({ ...previous.status, ...heartbeat }, { ...value.status, ...heartbeat });
    if (type === 'updated' && sameSpec && sameStatus && wasAlive === agents.isAlive(key)) return;
    const uids = new Set([...value.revisions.keys(), ...(previous?.revisions.keys() ?? [])]);
    const node = fleet.nodes.get(key);
    const names = [...uids].flatMap((uid) => fleet.policyByUid(uid)?.view.name ?? []);
    this.#policies(node ? [...names, ...fleet.policiesOn(node)] : names);
  }

  /** After a start, or when anything may be different. */
  everything(): void {
    const { fleet, nodeQueue, policyQueue } = this.#options;
    for (const { view } of fleet.policies()) policyQueue.add(view.name);
    // Policies first: what they release is then written with a node's first write.
    for (const { name } of fleet.nodes.values()) nodeQueue.addAfter(name, 4 * GATHER_MS);
    for (const { name } of fleet.configs.values()) nodeQueue.addAfter(name, 4 * GATHER_MS);
  }

  #policies(names: Iterable<string>): void {
    const { fleet, policyQueue } = this.#options;
    for (const name of new Set(names)) policyQueue.addAfter(name, gatherMs(fleet.policy(name)));
  }
}

/** Looking at a policy costs in proportion to its nodes; the more there are, the more reports are looked at together. */
export function gatherMs(state: PolicyState | undefined): number {
  return GATHER_MS + (state?.targets?.length ?? 0) / 4;
}

function sameNode(a: NodeView, b: NodeView): boolean {
  return a.uid === b.uid && a.ready === b.ready && isDeepStrictEqual(a.labels, b.labels);
}
