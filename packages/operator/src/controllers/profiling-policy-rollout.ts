// SPDX-License-Identifier: Apache-2.0
/** profilingpolicy.rollout: gives a policy's revision to its nodes step by step, and says in its status how that goes. */
import {
  API_VERSION,
  OPERATOR_FIELD_MANAGER,
  PROFILING_POLICY,
  type ProfilingPolicyStatus,
  parseDuration,
} from '@plumbline/api';
import {
  type Clock,
  type EventRecorder,
  isNotFound,
  type Resource,
  type TokenBucket,
  type WorkQueue,
} from '@plumbline/kube';
import type { AgentActivity } from '../agent-activity.ts';
import type { Fleet } from '../fleet.ts';
import type { PolicyState } from '../policy-state.ts';
import { nodeState } from '../rollout/node-state.ts';
import { advanceRollout, type RolloutDecision, type RolloutNode } from '../rollout/rollout.ts';
import { type PolicyNode, summarize } from '../status/summarize.ts';
import { announcements, changeBetween } from '../status/transitions.ts';
import type { NodeView } from '../views.ts';
import type { Reconciler, Result } from './controller.ts';
import { gatherMs } from './triggers.ts';

export interface PolicyRolloutOptions {
  fleet: Fleet;
  queue: WorkQueue;
  /** Where nodes go that were given something. */
  nodeQueue: WorkQueue;
  policies: Resource;
  events: EventRecorder;
  agents: AgentActivity;
  /** Limits status writes of all policies together. */
  statusRate: TokenBucket;
  clock: Clock;
}

/** Node counts are written at most so often, truncation figures more rarely; what is news is written at once. */
const COUNTS_INTERVAL_MS = 5_000;
/** With many policies more rarely, so that all of them together write ten counts a second. */
const COUNTS_INTERVAL_PER_POLICY_MS = 100;
const FIGURES_INTERVAL_MS = 60_000;
/** Agents fall silent without an event; look that often. */
const IDLE_MS = 60_000;
/** Longer than a reconcile takes. */
const GATHER_MS = 100;

type Seen = RolloutNode & PolicyNode;

export class PolicyRollout implements Reconciler {
  readonly name = 'profilingpolicy.rollout';
  readonly queue: WorkQueue;
  readonly workers = 8;
  readonly #options: PolicyRolloutOptions;

  constructor(options: PolicyRolloutOptions) {
    this.#options = options;
    this.queue = options.queue;
  }

  async reconcile(name: string): Promise<Result> {
    const { fleet, clock } = this.#options;
    const state = fleet.policy(name);
    if (!state) return {};
    const targets = fleet.targets(state);
    const nodes = targets.map((node) => this.#look(state, node));
    const compiled = state.current && fleet.compiled(state.current);
    const problem = state.problem ?? compiled?.problem;
    const decision = problem ? undefined : this.#advance(state, nodes);
    const rollout = decision?.status ?? state.rollout;
    const complete = rollout?.phase === 'Complete' && rollout.revision === state.current?.revision;
    const lastGood = complete ? state.current : state.lastGood;
    const status = summarize({
      uid: state.view.uid,
      generation: state.view.generation,
      previous: state.view.status,
      spec: state.current?.spec,
      problem,
      rollout,
      lastGood: lastGood && { revision: lastGood.revision, spec: { ...lastGood.spec } },
      nodes,
      losses: fleet.losses(state, targets),
      clamps: compiled?.clamps ?? [],
      selectsNoNamespace: compiled !== undefined && compiled.problem === undefined && compiled.rule === undefined,
      now: clock.date(),
    });
    const next = { rollout, lastGood, release: decision?.release ?? [], freeSlots: decision?.freeSlots ?? 0 };
    // An end of a rollout is in the cluster before it is acted upon, so that a leader that comes after this one knows it.
    const ended = rollout?.phase !== state.rollout?.phase && decision?.release.length === 0;
    if (!ended) this.#act(state, next);
    const statusDueMs = await this.#write(state, status);
    if (ended) this.#act(state, next);
    const again = [
      statusDueMs,
      decision?.againAfterMs,
      decision?.release.length ? gatherMs(state) : undefined,
      IDLE_MS,
    ];
    return { againAfterMs: Math.min(...again.filter((ms) => ms !== undefined)) };
  }

  #look(state: PolicyState, node: NodeView): Seen {
    const { fleet, agents, clock } = this.#options;
    const config = fleet.configs.get(node.name);
    const reporting = agents.isAlive(node.name) && node.ready;
    const { current, rollout, released, view } = state;
    const phase = rollout?.revision === current?.revision ? rollout?.phase : undefined;
    // A node that came after the rollout has the revision from the start.
    if (phase === 'Complete' && !released.has(node.name)) fleet.release(state, [node.name], clock.now());
    const seen = nodeState({
      policyUid: view.uid,
      revision: current?.revision ?? '',
      node,
      config,
      release: phase === 'RolledBack' ? undefined : released.get(node.name),
      expected: fleet.desired(node).uids.has(view.uid),
      configuredAt: agents.configuredAt(node.name),
      reporting,
      now: clock.now(),
      progressDeadlineMs: parseDuration(current?.spec.rollout.progressDeadline ?? '10m'),
    });
    const together = seen.kind === 'waiting' && fleet.companions(state, node).every(({ freeSlots }) => freeSlots > 0);
    return { name: node.name, state: seen, config, reporting, together };
  }

  #advance(state: PolicyState, nodes: readonly Seen[]): RolloutDecision | undefined {
    const { clock } = this.#options;
    const { current, rollout, paused } = state;
    if (!current) return undefined;
    const now = clock.now();
    const decision = advanceRollout({
      settings: current.spec.rollout,
      paused,
      revision: current.revision,
      previous: rollout,
      nodes,
      heldUpMs: now - (state.heldUpSince ?? now),
      now: clock.date(),
    });
    state.heldUpSince = decision.heldUp ? (state.heldUpSince ?? now) : undefined;
    return decision;
  }

  /** @returns milliseconds after which the status may be written, where it is too early now. */
  async #write(state: PolicyState, status: ProfilingPolicyStatus): Promise<number | undefined> {
    const { fleet, policies, events, statusRate, clock } = this.#options;
    const before = state.view.status;
    const change = changeBetween(before, status);
    if (change === 'none') return undefined;
    const counts = Math.max(COUNTS_INTERVAL_MS, COUNTS_INTERVAL_PER_POLICY_MS * fleet.policyCount);
    const interval = { transition: 0, counts, figures: Math.max(counts, FIGURES_INTERVAL_MS) }[change];
    const due = (state.writtenAt ?? Number.NEGATIVE_INFINITY) + interval - clock.now();
    if (due > 0) return due;
    await statusRate.take();
    const { name, uid } = state.view;
    const object = { apiVersion: API_VERSION, kind: PROFILING_POLICY.kind, metadata: { name, uid }, status };
    try {
      await policies.apply(object, { fieldManager: OPERATOR_FIELD_MANAGER, subresource: 'status' });
    } catch (error) {
      if (isNotFound(error)) return undefined; // deleted meanwhile; the watch will say so
      throw error;
    }
    state.writtenAt = clock.now();
    state.view = { ...state.view, status };
    const regarding = { apiVersion: API_VERSION, kind: PROFILING_POLICY.kind, name, uid };
    for (const news of announcements(before, status)) events.record({ regarding, action: 'Rollout', ...news });
    return undefined;
  }

  #act(
    state: PolicyState,
    next: Pick<PolicyState, 'rollout' | 'lastGood' | 'freeSlots'> & { release: string[] },
  ): void {
    const { fleet, nodeQueue, clock } = this.#options;
    const changed = fleet.setRollout(state, next.rollout, next.lastGood);
    state.freeSlots = next.freeSlots;
    for (const name of next.release) this.#joinIn(state, name);
    fleet.release(state, next.release, clock.now());
    for (const name of [...changed, ...next.release]) nodeQueue.addAfter(name, GATHER_MS);
  }

  /** Where a node is to be written anyway, the other policies that are on their way to it come along. */
  #joinIn(state: PolicyState, name: string): void {
    const { fleet, queue, clock, agents } = this.#options;
    const node = fleet.nodes.get(name);
    if (!node) return;
    const counts = agents.isAlive(name) && node.ready;
    for (const other of fleet.companions(state, node)) {
      if (counts && other.freeSlots <= 0) continue;
      if (counts) other.freeSlots -= 1;
      fleet.release(other, [name], clock.now());
      queue.addAfter(other.view.name, gatherMs(other));
    }
  }
}
