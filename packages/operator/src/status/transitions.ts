// SPDX-License-Identifier: Apache-2.0
/** What changed between two statuses: decides when to write and what to tell people. */
import { isDeepStrictEqual } from 'node:util';
import type { Condition, PolicyConditionType, ProfilingPolicyStatus } from '@plumbline/api';

/** How urgent a changed status is. */
type Urgency = 'none' | 'figures' | 'counts' | 'transition';

export function changeBetween(before: ProfilingPolicyStatus, after: ProfilingPolicyStatus): Urgency {
  if (isDeepStrictEqual(plain(before), plain(after))) return 'none';
  const essence = (status: ProfilingPolicyStatus) => ({
    generation: status.observedGeneration,
    phase: status.rollout?.phase,
    revision: status.rollout?.revision,
    lastGood: status.lastGood?.revision,
    conditions: (status.conditions ?? []).map(({ type, status: value, reason }) => `${type}=${value}/${reason}`).sort(),
  });
  if (!isDeepStrictEqual(essence(before), essence(after))) return 'transition';
  return isDeepStrictEqual(withoutFigures(before), withoutFigures(after)) ? 'figures' : 'counts';
}

/** Truncation figures move all the time; so does the message that repeats them. */
function withoutFigures(status: ProfilingPolicyStatus): unknown {
  const conditions = status.conditions?.filter(({ type }) => type !== 'ObjectiveMet');
  return plain({ ...status, truncation: undefined, conditions });
}

/** As it travels: without undefined members. */
function plain(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value));
}

export interface Announcement {
  type: 'Normal' | 'Warning';
  reason: string;
  note: string;
}

/** Whether True is good news. */
const GOOD_WHEN_TRUE: Record<PolicyConditionType, boolean | undefined> = {
  Ready: true,
  Accepted: true,
  Progressing: undefined,
  Degraded: false,
  Conflicted: false,
  Clamped: false,
  ObjectiveMet: true,
};

/** One event for each condition that flipped, and for each step of a rollout; never one for each node. */
export function announcements(before: ProfilingPolicyStatus, after: ProfilingPolicyStatus): Announcement[] {
  const found: Announcement[] = [];
  for (const condition of after.conditions ?? []) {
    const previous = before.conditions?.find(({ type }) => type === condition.type);
    if (isNews(previous, condition))
      found.push({ type: severity(condition), reason: condition.reason, note: condition.message });
  }
  // Ready repeats what another condition has just said.
  return found.filter(({ reason }, index) => found.findIndex((other) => other.reason === reason) === index);
}

function isNews(previous: Condition | undefined, next: Condition): boolean {
  // What is merely not done yet, Progressing tells.
  if (next.type === 'Ready' && (next.reason === 'NodesPending' || next.reason === 'Paused')) return false;
  if (next.type === 'Progressing') return previous?.reason !== next.reason;
  if (previous?.status === next.status)
    return next.status !== 'Unknown' && isBad(next) && previous.reason !== next.reason;
  // That all is well from the start is no news; that it became well is, and so is the first Ready.
  return (
    isBad(next) ||
    (previous !== undefined && previous.status !== 'Unknown') ||
    (next.type === 'Ready' && next.status === 'True')
  );
}

function isBad({ type, status }: Condition): boolean {
  const good = GOOD_WHEN_TRUE[type as PolicyConditionType];
  return good !== undefined && status !== 'Unknown' && (status === 'True') !== good;
}

function severity(condition: Condition): 'Normal' | 'Warning' {
  const failed = condition.reason === 'RolloutFailed' || condition.reason === 'RolledBack';
  return isBad(condition) || failed ? 'Warning' : 'Normal';
}
