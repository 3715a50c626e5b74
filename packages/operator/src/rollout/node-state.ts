// SPDX-License-Identifier: Apache-2.0
/** Where one node stands with the current revision of one policy. */
import type { NodeConfigView, NodeView, Trouble } from '../views.ts';

export type NodeState =
  /** Has not been given the revision. */
  | { kind: 'waiting' }
  /** Given, not reported yet. */
  | { kind: 'inFlight' }
  | { kind: 'applied' }
  | ({ kind: 'failed' } & Trouble)
  /** No agent, or a node that is not ready: nobody to wait for. */
  | { kind: 'notReporting' };

/** That a node was given a revision, and what it was like then. */
export interface Release {
  /** Milliseconds on the clock. */
  at: number;
  /** A node that was degraded before cannot be blamed on the revision. */
  degradedBefore: boolean;
}

export interface NodeStateInput {
  policyUid: string;
  revision: string;
  node: NodeView;
  config: NodeConfigView | undefined;
  release: Release | undefined;
  /** Whether the node's object is to have a rule of the policy; it has none where the policy lost or selects nothing. */
  expected: boolean;
  /** When the node's wanted configuration last changed, for whatever reason. */
  configuredAt: number | undefined;
  /** Whether the agent has been heard of lately. */
  reporting: boolean;
  now: number;
  progressDeadlineMs: number;
}

export function nodeState(input: NodeStateInput): NodeState {
  const { policyUid, revision, node, config, release, expected, reporting, now, progressDeadlineMs } = input;
  if (!release) return { kind: 'waiting' };
  if (!config || !reporting || !node.ready) return { kind: 'notReporting' };
  if (!expected) return { kind: 'applied' };
  const { status } = config;
  if (isApplied(config, policyUid, revision)) {
    const { degraded } = status;
    if (degraded && !release.degradedBefore) return { kind: 'failed', ...degraded };
    return { kind: 'applied' };
  }
  const given = config.revisions.get(policyUid) === revision;
  if (given && status.observedHash === config.configHash && status.appliedHash !== config.configHash) {
    const { reason, message } = status.notReady ?? { reason: 'InvalidConfig', message: 'refused without a reason' };
    return { kind: 'failed', reason, message };
  }
  const since = Math.max(release.at, input.configuredAt ?? release.at);
  if (now - since > progressDeadlineMs) {
    const message = `not applied after ${Math.round((now - since) / 1000)} s`;
    return { kind: 'failed', reason: 'ProgressDeadlineExceeded', message };
  }
  return { kind: 'inFlight' };
}

/** In force: the agent says so, or runs exactly what the node's object holds. */
function isApplied({ status, configHash, revisions }: NodeConfigView, uid: string, revision: string): boolean {
  const reported = status.policies.get(uid)?.revision;
  if (reported !== undefined) return reported === revision;
  return status.appliedHash === configHash && configHash !== '' && revisions.get(uid) === revision;
}
