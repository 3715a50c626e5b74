// SPDX-License-Identifier: Apache-2.0
/** Each condition of a ProfilingPolicy from what is known. Pure; `summarize.ts` puts them together. */
import { ADVICE, type Condition, type PolicyConditionType, type Reason, type RolloutStatus } from '@plumbline/api';
import type { Loss } from '../merge/merge.ts';
import type { Clamp } from '../merge/rule.ts';
import type { Trouble } from '../views.ts';
import type { TruncationSummary } from './truncation.ts';

/** A condition without what {@link setCondition} adds. */
export interface Finding {
  type: PolicyConditionType;
  status: Condition['status'];
  reason: Reason | (string & {});
  message: string;
}

export interface NodeCounts {
  targeted: number;
  updated: number;
  applied: number;
  failed: number;
  notReporting: number;
}

export interface FailingNode extends Trouble {
  name: string;
}

const plural = (count: number, noun: string) => `${count} ${noun}${count === 1 ? '' : 's'}`;

export function accepted(problem: Trouble | undefined): Finding {
  if (problem) return { type: 'Accepted', status: 'False', ...problem };
  return { type: 'Accepted', status: 'True', reason: 'Valid', message: 'The policy is valid.' };
}

export function progressing(rollout: RolloutStatus | undefined, paused: boolean, counts: NodeCounts): Finding {
  const finding = (status: 'True' | 'False', reason: Reason, message: string): Finding => ({
    type: 'Progressing',
    status,
    reason,
    message,
  });
  const share = `${counts.updated} of ${plural(counts.targeted, 'node')} updated`;
  switch (rollout?.phase) {
    case 'Complete':
      return finding('False', 'RolloutComplete', 'Every targeted node has the current revision.');
    case 'Failed':
      return finding('False', 'RolloutFailed', rollout.message ?? share);
    case 'RolledBack':
      return finding('False', 'RolledBack', rollout.message ?? share);
  }
  if (paused) return finding('False', 'Paused', `spec.paused is true; ${share}.`);
  if (rollout?.phase === 'Canary') return finding('True', 'CanaryInProgress', `Updating the canaries; ${share}.`);
  if (rollout?.phase === 'CanaryPause') {
    return finding('True', 'CanaryPaused', `Canaries healthy since ${rollout.canaryHealthySince}; ${share}.`);
  }
  return finding('True', 'RolloutInProgress', `${share}.`);
}

export function degraded(counts: NodeCounts, failing: readonly FailingNode[]): Finding {
  if (counts.failed === 0)
    return { type: 'Degraded', status: 'False', reason: 'AsExpected', message: 'No node failed.' };
  const [first] = failing;
  const others = counts.failed > 1 ? ` and ${plural(counts.failed - 1, 'other')}` : '';
  const message = `${plural(counts.failed, 'node')} of ${counts.targeted} failed: ${first.name}${others}: ${first.message}`;
  return { type: 'Degraded', status: 'True', reason: first.reason, message };
}

export function conflicted(losses: readonly Loss[], pods: number): Finding {
  if (losses.length === 0) {
    return {
      type: 'Conflicted',
      status: 'False',
      reason: 'NoConflict',
      message: 'No policy of higher precedence overlaps.',
    };
  }
  const [first] = losses;
  const texts = losses.slice(0, 3).map(({ winner, reason, what, nodes }) => {
    const where = `on ${plural(nodes, 'node')}`;
    if (reason === 'RuleLimit') return `left out ${where}: ${what}`;
    return `${what} decided by ProfilingPolicy "${winner}" ${where}`;
  });
  const more = losses.length > 3 ? `; and ${losses.length - 3} more` : '';
  const affected = pods > 0 ? `; ${plural(pods, 'pod')} affected` : '';
  return { type: 'Conflicted', status: 'True', reason: first.reason, message: `${texts.join('; ')}${more}${affected}` };
}

export function clamped(clamps: readonly Clamp[]): Finding {
  const [first] = clamps;
  if (!first)
    return { type: 'Clamped', status: 'False', reason: 'WithinLimits', message: 'No limit of the cluster applies.' };
  const message = `${clamps.map((clamp) => clamp.message).join('; ')} by the operator's limits`;
  return { type: 'Clamped', status: 'True', reason: first.reason, message };
}

/** User samples below which a ratio is chance. */
const MIN_SAMPLES = 200;
/** So many are enough for a verdict that stands to stay: traffic around the limit is no news. */
const ENOUGH_TO_STAY = 100;
/** An objective that was missed is met again only well within it, so that the condition does not flap. */
const RECOVERY = 0.8;

export function objectiveMet(
  truncation: TruncationSummary,
  objective: number,
  previous: Condition | undefined,
): Finding {
  const finding = (status: Finding['status'], reason: Reason, message: string): Finding => ({
    type: 'ObjectiveMet',
    status,
    reason,
    message,
  });
  const judged = previous !== undefined && previous.status !== 'Unknown';
  if (truncation.samples < (judged ? ENOUGH_TO_STAY : MIN_SAMPLES)) {
    return finding('Unknown', 'NotEnoughSamples', `Fewer than ${MIN_SAMPLES} user samples in the window.`);
  }
  const wasMissed = previous?.status === 'False';
  const met = truncation.ratio <= objective * (wasMissed ? RECOVERY : 1);
  const usual = truncation.baselineText === undefined ? '' : `, usually ${truncation.baselineText}`;
  const figures = `Truncated ratio ${truncation.ratioText}, objective ${objective}${usual}`;
  if (met) return finding('True', 'WithinObjective', `${figures}.`);
  const where = truncation.worstWorkload ? `; worst: ${truncation.worstWorkload}` : '';
  return finding('False', 'TruncationHigh', `${figures}${where}${why(truncation)}.`);
}

/** The most frequent reason, the file that it concerns, and what to do about it. */
function why({ topReason, topFile }: TruncationSummary): string {
  if (!topReason) return '';
  const file = topFile && ADVICE[topReason]?.concern === 'file' ? ` in ${topFile}` : '';
  const todo = ADVICE[topReason] ? `; ${ADVICE[topReason].todo}` : '';
  return `; mostly ${topReason}${file}${todo}`;
}

export interface ReadyInput {
  acceptedFinding: Finding;
  counts: NodeCounts;
  rollout: RolloutStatus | undefined;
  selectsNoNamespace: boolean;
  paused: boolean;
}

export function ready({ acceptedFinding, counts, rollout, selectsNoNamespace, paused }: ReadyInput): Finding {
  const no = (reason: Reason, message: string): Finding => ({ type: 'Ready', status: 'False', reason, message });
  const { targeted, applied, failed, notReporting } = counts;
  const share = `${applied} of ${plural(targeted, 'node')} run the current revision`;
  if (acceptedFinding.status === 'False') return no('NotAccepted', acceptedFinding.message);
  if (targeted === 0) return no('NoMatchingNodes', 'No Linux node matches spec.nodeSelector.');
  if (selectsNoNamespace) return no('NoMatchingNamespaces', 'No namespace matches spec.target.namespaceSelector.');
  if (rollout?.phase === 'RolledBack') return no('RolledBack', rollout.message ?? share);
  if (rollout?.phase === 'Failed') return no('RolloutFailed', rollout.message ?? share);
  if (failed > 0) return no('NodesFailed', `${share}; ${failed} failed, see status.failingNodes.`);
  if (applied + notReporting < targeted)
    return paused ? no('Paused', `${share}; spec.paused is true.`) : no('NodesPending', `${share}.`);
  if (applied === 0)
    return no('NodesPending', `No agent reports from any of the ${plural(targeted, 'targeted node')}.`);
  const silent = notReporting > 0 ? `; no agent reports from ${plural(notReporting, 'other node')}` : '';
  return { type: 'Ready', status: 'True', reason: 'AllNodesApplied', message: `${share}${silent}.` };
}
