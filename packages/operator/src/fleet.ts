// SPDX-License-Identifier: Apache-2.0
/**
 * Everything that the operator knows, joined: which policy applies to which node, at which revision, and what comes out.
 * No input or output; the controllers feed it and act on it. Answers for thousands of nodes are cheap, because nodes with
 * the same policies share one merged configuration and what was worked out for a node is kept until something changes.
 */
import type { RolloutStatus } from '@plumbline/api';
import { type Loss, type Merged, mergePolicies } from './merge/merge.ts';
import type { EffectivePolicy } from './merge/precedence.ts';
import { type CompiledPolicy, compilePolicy, type Limits, type NamespaceView } from './merge/rule.ts';
import { effectiveOn, isRollingTowards, type PolicyState, policyState, selects } from './policy-state.ts';
import type { Release } from './rollout/node-state.ts';
import type { NodeConfigView, NodeView, PolicyView } from './views.ts';

/** The read side of a reflector. */
interface Store<T> {
  get(name: string): T | undefined;
  values(): Iterable<T>;
}

interface Stores {
  nodes: Store<NodeView>;
  namespaces: Store<NamespaceView>;
  configs: Store<NodeConfigView>;
}

/** Different sets of policies on nodes; beyond that many, what is kept is thrown away. */
const MAX_MERGED = 5_000;

export class Fleet {
  readonly #stores: Stores;
  readonly limits: Limits;
  readonly #policies = new Map<string, PolicyState>();
  /** By uid and revision. */
  readonly #compiled = new Map<string, CompiledPolicy>();
  /** By the policies that apply. */
  readonly #merged = new Map<string, Merged>();
  /** By node: policies whose current or last good spec selects it. */
  readonly #candidates = new Map<string, PolicyState[]>();
  /** By node. */
  readonly #desired = new Map<string, Merged>();

  constructor(stores: Stores, limits: Limits) {
    this.#stores = stores;
    this.limits = limits;
  }

  get nodes(): Store<NodeView> {
    return this.#stores.nodes;
  }

  get configs(): Store<NodeConfigView> {
    return this.#stores.configs;
  }

  policies(): Iterable<PolicyState> {
    return this.#policies.values();
  }

  get policyCount(): number {
    return this.#policies.size;
  }

  policy(name: string): PolicyState | undefined {
    return this.#policies.get(name);
  }

  /**
   * Takes in a new state of a policy. Its rollout goes on where its status says, unless the spec is new. Which nodes have
   * the revision already is read from their objects. `now` is on the clock.
   */
  setPolicy(view: PolicyView, now: number): void {
    const known = this.#policies.get(view.name);
    if (known && known.view.uid === view.uid && known.view.generation === view.generation) {
      known.view = view;
      return;
    }
    const next = policyState(view);
    if (known && known.view.uid === view.uid) {
      next.rollout = known.rollout;
      next.lastGood = known.lastGood;
      next.writtenAt = known.writtenAt;
    }
    const sameRevision = known?.view.uid === view.uid && known.current?.revision === next.current?.revision;
    next.released = sameRevision ? known.released : this.#alreadyGiven(next, now);
    this.#policies.set(view.name, next);
    this.#forgetNodes();
  }

  removePolicy(name: string): void {
    this.#policies.delete(name);
    this.#forgetNodes();
  }

  /** After a node was added, relabelled, or removed; `replaced` when it is gone or another machine. */
  nodeChanged(name: string, replaced: boolean): void {
    this.#candidates.delete(name);
    this.#desired.delete(name);
    for (const state of this.#policies.values()) {
      state.targets = undefined;
      if (replaced) state.released.delete(name);
    }
  }

  /** After namespaces were added, removed or relabelled. @returns whether some rule is another one now. */
  namespacesChanged(): boolean {
    const before = [...this.#compiled.values()];
    this.#compiled.clear();
    const essence = ({ rule, problem }: CompiledPolicy) => `${rule?.namespaces.join(',')} ${problem?.message}`;
    if (before.every((compiled) => essence(this.compiled(compiled.policy)) === essence(compiled))) return false;
    this.#merged.clear();
    this.#desired.clear();
    return true;
  }

  /** The nodes have the policy's current revision from now on. */
  release(state: PolicyState, names: readonly string[], now: number): void {
    for (const name of names) {
      const degradedBefore = this.#stores.configs.get(name)?.status.degraded !== undefined;
      state.released.set(name, { at: now, degradedBefore });
      this.#desired.delete(name);
    }
  }

  /**
   * Where the rollout is complete: a node that came after it has the revision from the start. @returns whether it is.
   */
  adopt(state: PolicyState, now: number): boolean {
    if (state.rollout?.phase !== 'Complete' || state.rollout.revision !== state.current?.revision) return false;
    const late = this.targets(state).filter(({ name }) => !state.released.has(name));
    this.release(
      state,
      late.map(({ name }) => name),
      now,
    );
    return true;
  }

  /** @returns names of the nodes that this takes back to another configuration. */
  setRollout(state: PolicyState, rollout: RolloutStatus | undefined, lastGood: EffectivePolicy | undefined): string[] {
    const samePhase = state.rollout?.phase === rollout?.phase && state.rollout?.revision === rollout?.revision;
    state.rollout = rollout;
    state.lastGood = lastGood;
    if (samePhase) return [];
    const names = [...this.#stores.nodes.values()]
      .filter((node) => this.#candidatesOf(node).includes(state))
      .map(({ name }) => name);
    for (const name of names) this.#desired.delete(name);
    // Other phases only let nodes keep what they have.
    return rollout?.phase === 'RolledBack' ? names : [];
  }

  /** The rule that the policy makes at present. */
  compiled(policy: EffectivePolicy): CompiledPolicy {
    const key = `${policy.uid}/${policy.revision}`;
    let compiled = this.#compiled.get(key);
    if (!compiled) {
      if (this.#compiled.size > 10 * this.#policies.size + 100) this.#compiled.clear();
      compiled = compilePolicy(policy, this.#stores.namespaces.values(), this.limits);
      this.#compiled.set(key, compiled);
    }
    return compiled;
  }

  /** What the node's object should hold. */
  desired(node: NodeView): Merged {
    let merged = this.#desired.get(node.name);
    if (!merged) {
      merged = this.#merge(this.effectivePolicies(node));
      this.#desired.set(node.name, merged);
    }
    return merged;
  }

  /** The policies that apply to the node, each at the revision that its rollout has brought there. By name. */
  effectivePolicies(node: NodeView): EffectivePolicy[] {
    return this.#candidatesOf(node)
      .map((state) => effectiveOn(state, node))
      .filter((policy) => policy !== undefined)
      .sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** Linux nodes that the current spec of the policy selects, in release order. */
  targets(state: PolicyState): readonly NodeView[] {
    const { current } = state;
    if (!current) return [];
    state.targets ??= [...this.#stores.nodes.values()]
      .filter((node) => selects(current, node))
      .sort((a, b) => (a.order < b.order ? -1 : 1));
    return state.targets;
  }

  /**
   * The other policies that are being rolled out and have not reached the node. What is released together is written
   * together, so that many policies that change at once do not mean as many writes to every node.
   */
  companions(state: PolicyState, node: NodeView): PolicyState[] {
    return this.#candidatesOf(node).filter((other) => other !== state && isRollingTowards(other, node));
  }

  /** Names of policies that are, or may come to be, in force on the node. */
  policiesOn(node: NodeView): string[] {
    return this.#candidatesOf(node).map(({ view }) => view.name);
  }

  policyByUid(uid: string): PolicyState | undefined {
    for (const state of this.#policies.values()) if (state.view.uid === uid) return state;
    return undefined;
  }

  /** Names of nodes that the policy concerns: it selects them, or their object has a rule of it. */
  concernedBy(state: PolicyState): string[] {
    const { uid } = state.view;
    return [...this.#stores.nodes.values()]
      .filter(
        (node) => this.#candidatesOf(node).includes(state) || this.#stores.configs.get(node.name)?.revisions.has(uid),
      )
      .map(({ name }) => name);
  }

  /** What the policy does not get on these nodes. */
  losses(state: PolicyState, targets: readonly NodeView[]): Loss[] {
    // Nodes that share a configuration share the answer.
    const nodesBy = Map.groupBy(targets, (node) => this.desired(node));
    const losses = new Map<string, Loss>();
    for (const [{ overrides }, { length }] of nodesBy) {
      for (const { loser, winner, reason, what } of overrides) {
        if (loser !== state.view.uid) continue;
        const key = `${winner}\n${what}`;
        losses.set(key, { winner, reason, what, nodes: (losses.get(key)?.nodes ?? 0) + length });
      }
    }
    return [...losses.values()].sort((a, b) => b.nodes - a.nodes || (a.winner < b.winner ? -1 : 1));
  }

  #merge(effective: EffectivePolicy[]): Merged {
    const key = effective.map(({ uid, revision }) => `${uid}/${revision}`).join(' ');
    let merged = this.#merged.get(key);
    if (!merged) {
      const compiled = effective.map((policy) => this.compiled(policy));
      merged = mergePolicies(compiled, this.limits);
      if (this.#merged.size >= MAX_MERGED) this.#merged.clear();
      this.#merged.set(key, merged);
    }
    return merged;
  }

  #candidatesOf(node: NodeView): PolicyState[] {
    let candidates = this.#candidates.get(node.name);
    if (!candidates) {
      candidates = [...this.#policies.values()].filter(
        ({ current, lastGood }) => (current && selects(current, node)) || (lastGood && selects(lastGood, node)),
      );
      this.#candidates.set(node.name, candidates);
    }
    return candidates;
  }

  #alreadyGiven({ view, current }: PolicyState, now: number): Map<string, Release> {
    const given = [...this.#stores.configs.values()].filter(
      ({ revisions }) => current !== undefined && revisions.get(view.uid) === current.revision,
    );
    return new Map(given.map(({ name, status }) => [name, { at: now, degradedBefore: status.degraded !== undefined }]));
  }

  #forgetNodes(): void {
    this.#candidates.clear();
    this.#desired.clear();
  }
}
