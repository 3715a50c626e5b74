// SPDX-License-Identifier: Apache-2.0
/** profilingpolicy.status: says in each policy what became of it, as rarely as people can bear. */
import { API_VERSION, OPERATOR_FIELD_MANAGER, PROFILING_POLICY, type ProfilingPolicyStatus } from '@plumbline/api';
import { type Clock, type EventRecorder, isNotFound, type Resource, type WorkQueue } from '@plumbline/kube';
import type { Fleet } from '../fleet.ts';
import type { Observation, PolicyObserver } from '../policy-observer.ts';
import type { PolicyState } from '../policy-state.ts';
import { summarize } from '../status/summarize.ts';
import { announcements, changeBetween } from '../status/transitions.ts';
import type { Reconciler, Result } from './controller.ts';

export interface PolicyStatusOptions {
  fleet: Fleet;
  observer: PolicyObserver;
  queue: WorkQueue;
  policies: Resource;
  events: EventRecorder;
  clock: Clock;
}

/** Node counts are written at most so often, truncation figures more rarely; what is news is written at once. */
const COUNTS_INTERVAL_MS = 5_000;
/** With many policies more rarely, so that all of them together write ten counts a second. */
const COUNTS_INTERVAL_PER_POLICY_MS = 100;
const FIGURES_INTERVAL_MS = 60_000;
/** A summary costs in proportion to the nodes: it is made at most so often for each of them. */
const SUMMARY_INTERVAL_PER_NODE_MS = 3;

export class PolicyStatus implements Reconciler {
  readonly name = 'profilingpolicy.status';
  readonly queue: WorkQueue;
  /** Few, so that status writes leave the rate limit to the nodes. */
  readonly workers = 4;
  readonly #options: PolicyStatusOptions;

  constructor(options: PolicyStatusOptions) {
    this.#options = options;
    this.queue = options.queue;
  }

  async reconcile(name: string): Promise<Result> {
    const { fleet, observer, clock } = this.#options;
    const state = fleet.policy(name);
    if (!state) return {};
    const wait = this.#tooEarly(state);
    if (wait > 0) return { againAfterMs: wait };
    state.summarizedAt = clock.now();
    const status = this.#statusOf(state, observer.observe(state), state);
    const change = changeBetween(state.view.status, status);
    if (change === 'none') return {};
    const counts = Math.max(COUNTS_INTERVAL_MS, COUNTS_INTERVAL_PER_POLICY_MS * fleet.policyCount);
    const interval = { transition: 0, counts, figures: Math.max(counts, FIGURES_INTERVAL_MS) }[change];
    const due = (state.writtenAt ?? Number.NEGATIVE_INFINITY) + interval - clock.now();
    if (due > 0) return { againAfterMs: due };
    await this.#write(state, status);
    return {};
  }

  /** Milliseconds to wait: only a step of the rollout is urgent. */
  #tooEarly({ summarizedAt, targets, rollout, view }: PolicyState): number {
    const { status, generation } = view;
    const urgent =
      status.observedGeneration !== generation ||
      status.rollout?.phase !== rollout?.phase ||
      status.rollout?.revision !== rollout?.revision;
    if (urgent || summarizedAt === undefined) return 0;
    return summarizedAt + SUMMARY_INTERVAL_PER_NODE_MS * (targets?.length ?? 0) - this.#options.clock.now();
  }

  /** Writes at once what the rollout has come to, before anybody acts upon it. */
  async record(
    state: PolicyState,
    observed: Observation,
    next: Pick<PolicyState, 'rollout' | 'lastGood'>,
  ): Promise<void> {
    await this.#write(state, this.#statusOf(state, observed, next));
  }

  #statusOf(
    state: PolicyState,
    { targets, nodes, compiled, problem }: Observation,
    { rollout, lastGood }: Pick<PolicyState, 'rollout' | 'lastGood'>,
  ): ProfilingPolicyStatus {
    const { fleet, clock } = this.#options;
    return summarize({
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
  }

  async #write(state: PolicyState, status: ProfilingPolicyStatus): Promise<void> {
    const { policies, events, clock } = this.#options;
    const before = state.view.status;
    const { name, uid } = state.view;
    const identity = { apiVersion: API_VERSION, kind: PROFILING_POLICY.kind };
    try {
      const object = { ...identity, metadata: { name, uid }, status };
      await policies.apply(object, { fieldManager: OPERATOR_FIELD_MANAGER, subresource: 'status' });
    } catch (error) {
      if (isNotFound(error)) return; // deleted meanwhile; the watch will say so
      throw error;
    }
    state.writtenAt = clock.now();
    state.view = { ...state.view, status };
    const regarding = { ...identity, name, uid };
    for (const news of announcements(before, status)) events.record({ regarding, action: 'Rollout', ...news });
  }
}
