// SPDX-License-Identifier: Apache-2.0
/** profilingpolicy.rollout: gives a policy's revision to its nodes step by step. */
import type { Clock, WorkQueue } from '@plumbline/kube';
import type { Fleet } from '../fleet.ts';
import type { Observation, PolicyObserver } from '../policy-observer.ts';
import type { PolicyState } from '../policy-state.ts';
import { advanceRollout, type RolloutDecision } from '../rollout/rollout.ts';
import type { Reconciler, Result } from './controller.ts';
import type { PolicyStatus } from './profiling-policy-status.ts';
import { gatherMs } from './triggers.ts';

export interface PolicyRolloutOptions {
  fleet: Fleet;
  observer: PolicyObserver;
  queue: WorkQueue;
  /** Where nodes go that were given something. */
  nodeQueue: WorkQueue;
  status: PolicyStatus;
  clock: Clock;
}

/** Agents fall silent without an event; look that often. */
const IDLE_MS = 60_000;
/** Longer than a reconcile takes. */
const GATHER_MS = 100;

export class PolicyRollout implements Reconciler {
  readonly name = 'profilingpolicy.rollout';
  readonly queue: WorkQueue;
  readonly workers = 4;
  readonly #options: PolicyRolloutOptions;

  constructor(options: PolicyRolloutOptions) {
    this.#options = options;
    this.queue = options.queue;
  }

  async reconcile(name: string): Promise<Result> {
    const { fleet, observer, status, clock } = this.#options;
    const state = fleet.policy(name);
    if (!state) return {};
    if (fleet.adopt(state, clock.now())) {
      status.queue.add(name);
      return { againAfterMs: IDLE_MS };
    }
    const observed = observer.observe(state);
    const decision = observed.problem ? undefined : this.#advance(state, observed);
    const rollout = decision?.status ?? state.rollout;
    const complete = rollout?.phase === 'Complete' && rollout.revision === state.current?.revision;
    const next = { rollout, lastGood: complete ? state.current : state.lastGood };
    // An end of a rollout is in the cluster before it is acted upon, so that a leader that comes after this one knows it.
    if (isEnd(next) && next.rollout !== state.rollout) await status.record(state, observed, next);
    this.#act(state, next, decision, observed.claimed);
    status.queue.add(name);
    const again = [decision?.againAfterMs, decision?.release.length ? gatherMs(state) : undefined, IDLE_MS];
    return { againAfterMs: Math.min(...again.filter((ms) => ms !== undefined)) };
  }

  #advance(state: PolicyState, { nodes }: Observation): RolloutDecision | undefined {
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

  #act(
    state: PolicyState,
    { rollout, lastGood }: Pick<PolicyState, 'rollout' | 'lastGood'>,
    decision: RolloutDecision | undefined,
    claimed: ReadonlySet<string>,
  ): void {
    const { fleet, nodeQueue, clock } = this.#options;
    const release = decision?.release ?? [];
    const changed = fleet.setRollout(state, rollout, lastGood);
    state.freeSlots = decision?.freeSlots ?? 0;
    for (const name of release) this.#joinIn(state, name, claimed.has(name));
    fleet.release(state, release, clock.now());
    for (const name of [...changed, ...release]) nodeQueue.addAfter(name, GATHER_MS);
  }

  /** Where a node is to be written anyway, the other policies that are on their way to it come along. */
  #joinIn(state: PolicyState, name: string, claimed: boolean): void {
    const { fleet, observer, queue, clock } = this.#options;
    const node = fleet.nodes.get(name);
    if (!node) return;
    const counts = observer.isReporting(node) && !claimed;
    for (const other of fleet.companions(state, node)) {
      if (counts && other.freeSlots <= 0) continue;
      if (counts) other.freeSlots -= 1;
      fleet.release(other, [name], clock.now());
      queue.addAfter(other.view.name, gatherMs(other));
    }
  }
}

function isEnd({ rollout }: Pick<PolicyState, 'rollout'>): boolean {
  return rollout?.phase === 'Complete' || rollout?.phase === 'Failed' || rollout?.phase === 'RolledBack';
}
