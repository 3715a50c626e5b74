// SPDX-License-Identifier: Apache-2.0
/** A policy as the operator works on it: what it asks for now, what was good before, and who has been given it. */
import { compileSelector, ProfilingPolicySpec, policyRevision, problemsOf, type RolloutStatus } from '@plumbline/api';
import type { EffectivePolicy } from './merge/precedence.ts';
import type { Release } from './rollout/node-state.ts';
import type { NodeView, PolicyView, Trouble } from './views.ts';

export interface PolicyState {
  view: PolicyView;
  /** Undefined where the spec does not fit the schema. */
  current: EffectivePolicy | undefined;
  problem: Trouble | undefined;
  /** The last revision that was rolled out fully. */
  lastGood: EffectivePolicy | undefined;
  rollout: RolloutStatus | undefined;
  paused: boolean;
  /** Nodes that were given the current revision, by name. */
  released: Map<string, Release>;
  /** How many more nodes may be given the revision now; 0 unless the rollout is rolling. */
  freeSlots: number;
  /** Since when its nodes wait for other policies while nothing of its own is in flight, on the clock. */
  heldUpSince: number | undefined;
  /** Nodes that `current` selects, in release order; undefined until they are worked out. */
  targets: NodeView[] | undefined;
  /** When the status was last worked out, and last written, on the clock. */
  summarizedAt: number | undefined;
  writtenAt: number | undefined;
}

export function policyState(view: PolicyView): PolicyState {
  const parsed = ProfilingPolicySpec.safeParse(view.spec);
  const problem = parsed.success
    ? undefined
    : { reason: 'InvalidSpec', message: problemsOf(parsed.error, 'spec').join('; ').slice(0, 1024) };
  return {
    view,
    current: parsed.success ? effective(view, parsed.data) : undefined,
    problem,
    lastGood: lastGood(view),
    rollout: view.status.rollout,
    paused: parsed.success && parsed.data.paused,
    released: new Map(),
    freeSlots: 0,
    heldUpSince: undefined,
    targets: undefined,
    summarizedAt: undefined,
    writtenAt: undefined,
  };
}

function effective({ name, uid, creationTimestamp }: PolicyView, spec: ProfilingPolicySpec): EffectivePolicy {
  const selectsNode = compileSelector(spec.nodeSelector);
  return { name, uid, creationTimestamp, revision: policyRevision(spec), spec, selectsNode };
}

/** From the status; one that no longer fits the schema cannot be gone back to. */
function lastGood(view: PolicyView): EffectivePolicy | undefined {
  const parsed = ProfilingPolicySpec.safeParse(view.status.lastGood?.spec);
  return parsed.success ? effective(view, parsed.data) : undefined;
}

/** The revision of the policy that is in force on the node; undefined where none is. */
export function effectiveOn(
  { current, lastGood, rollout, released, paused }: PolicyState,
  node: NodeView,
): EffectivePolicy | undefined {
  const wanted = current !== undefined && selects(current, node);
  const phase = rollout?.revision === current?.revision ? rollout?.phase : undefined;
  if (wanted && phase !== 'RolledBack' && (phase === 'Complete' || released.has(node.name))) return current;
  // Until it is its turn, a node keeps what was good. One that is no longer meant gives it up, unless the new spec counts
  // for nothing: frozen, rolled back, or not readable.
  const keep = wanted || paused || phase === 'RolledBack' || current === undefined;
  return lastGood && keep && selects(lastGood, node) ? lastGood : undefined;
}

/** A node waits for the policy, and will get it from the sliding window rather than as a canary. */
export function isRollingTowards({ current, rollout, released, paused }: PolicyState, node: NodeView): boolean {
  return (
    !paused &&
    current !== undefined &&
    rollout?.revision === current.revision &&
    rollout.phase === 'Rolling' &&
    !released.has(node.name) &&
    selects(current, node)
  );
}

/** Whether the revision is for the node. */
export function selects({ selectsNode }: EffectivePolicy, { linux, labels }: NodeView): boolean {
  return linux && selectsNode(labels);
}
