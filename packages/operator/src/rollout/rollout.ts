// SPDX-License-Identifier: Apache-2.0
/**
 * How a revision of a policy reaches its nodes: canaries first, then a sliding window, stopped by failures. Pure: what is
 * known of the nodes in, what to do out. It keeps no list of its own; which nodes have the revision is read from their
 * objects, so that the next leader goes on where the last one stopped.
 */
import { type ProfilingPolicySpec, parseDuration, type RolloutStatus, scaled, timestamp } from '@plumbline/api';
import type { NodeState } from './node-state.ts';

/** Between the first sight of a revision and its first release. */
const START_MS = 1_000;
/** Then a policy goes on alone: another one that is stuck must not hold it up. */
const PATIENCE_MS = 30_000;

export interface RolloutNode {
  name: string;
  state: NodeState;
  /** An agent reports there. Only for nodes that wait; the others' state says it. */
  reporting: boolean;
  /**
   * Takes a free slot from every other policy that is rolling towards the node, so that all are released together, or from
   * none. Only for nodes that wait.
   */
  claim: () => boolean;
}

export interface RolloutInput {
  settings: ProfilingPolicySpec['rollout'];
  paused: boolean;
  revision: string;
  previous: RolloutStatus | undefined;
  /** Targeted nodes in release order. */
  nodes: readonly RolloutNode[];
  /** How long nodes have waited for other policies while nothing of this one was in flight. */
  heldUpMs: number;
  now: Date;
}

export interface RolloutDecision {
  status: RolloutStatus;
  /** Names of nodes to give the revision to. */
  release: string[];
  /** How many more nodes may be released before others have answered; 0 unless rolling. */
  freeSlots: number;
  /** Nodes wait for other policies, and nothing of this one is in flight. */
  heldUp?: boolean;
  /** Look again after so many milliseconds, even if nothing is heard. */
  againAfterMs?: number;
}

/** The next step. Taking it twice, or with an older view of the nodes, does no harm. */
export function advanceRollout(input: RolloutInput): RolloutDecision {
  const status = current(input);
  if (status.phase === 'Complete' || status.phase === 'Failed' || status.phase === 'RolledBack')
    return { status, release: [], freeSlots: 0 };
  const canaries = canariesOf(input);
  const stopped = stop(input, status.phase === 'Rolling' ? input.nodes : canaries, status);
  if (stopped) return { status: stopped, release: [], freeSlots: 0 };
  if (input.paused) return { status, release: [], freeSlots: 0 };
  if (input.previous?.revision !== input.revision) return begin(input, status);
  switch (status.phase) {
    case 'Canary':
      return canaryStep(input, status, canaries);
    case 'CanaryPause':
      return pauseStep(input, status, canaries);
    case 'Rolling':
      return rollingStep(input, status);
  }
}

/**
 * Nothing is released yet: policies that were changed in the same moment get to know of each other first, and then share
 * the writes to their nodes.
 */
function begin(input: RolloutInput, status: RolloutStatus): RolloutDecision {
  const freeSlots = status.phase === 'Rolling' ? slots(input) : 0;
  return { status, release: [], freeSlots, againAfterMs: input.nodes.length > 0 ? START_MS : 0 };
}

/** The status to go on from: a new one when the revision is new. */
function current({ previous, revision, settings, now }: RolloutInput): RolloutStatus {
  if (previous?.revision === revision) return previous;
  return { revision, phase: settings.canary ? 'Canary' : 'Rolling', startedAt: timestamp(now) };
}

/** The first few nodes in release order that have an agent, so that somebody can say how it went. */
function canariesOf({ settings, nodes }: RolloutInput): RolloutNode[] {
  if (!settings.canary) return [];
  const able = nodes.filter(({ state, reporting }) => reporting && state.kind !== 'notReporting');
  return able.slice(0, Math.ceil((settings.canary.percent / 100) * able.length));
}

function stop(
  { settings, now }: RolloutInput,
  among: readonly RolloutNode[],
  status: RolloutStatus,
): RolloutStatus | undefined {
  const failed = among.filter(({ state }) => state.kind === 'failed');
  const allowed = scaled(settings.maxFailed, among.length, Math.floor);
  if (failed.length <= allowed) return undefined;
  const first = failed[0];
  const why = first.state.kind === 'failed' ? `${first.state.reason}: ${first.state.message}` : '';
  const message = `${failed.length} of ${among.length} nodes failed, ${allowed} allowed; ${first.name}: ${why}`.slice(
    0,
    1024,
  );
  const phase = settings.onFailure === 'Rollback' ? 'RolledBack' : 'Failed';
  return { ...status, phase, completedAt: timestamp(now), message };
}

function canaryStep(input: RolloutInput, status: RolloutStatus, canaries: RolloutNode[]): RolloutDecision {
  const release = choose(canaries, slots(input), true);
  if (release.length > 0 || canaries.some(isUnsettled))
    return { status, release, freeSlots: 0, againAfterMs: deadline(input) };
  return pauseStep(input, { ...status, phase: 'CanaryPause', canaryHealthySince: timestamp(input.now) }, canaries);
}

function pauseStep(input: RolloutInput, status: RolloutStatus, canaries: RolloutNode[]): RolloutDecision {
  const pause = parseDuration(input.settings.canary?.pause ?? '0s');
  const since = Date.parse(status.canaryHealthySince ?? status.startedAt);
  const left = since + pause - input.now.getTime();
  // A canary that was replaced meanwhile is a new one: it has to prove itself too.
  if (canaries.some(isUnsettled))
    return canaryStep(input, { ...status, phase: 'Canary', canaryHealthySince: undefined }, canaries);
  if (left > 0 && canaries.length > 0)
    return { status, release: [], freeSlots: 0, againAfterMs: Math.min(left, pause) };
  return rollingStep(input, { ...status, phase: 'Rolling' });
}

function rollingStep(input: RolloutInput, status: RolloutStatus): RolloutDecision {
  const { nodes } = input;
  const free = slots(input);
  const alone = input.heldUpMs >= PATIENCE_MS;
  const release = choose(nodes, free, alone);
  if (release.length === 0 && !nodes.some(isUnsettled)) {
    return { status: { ...status, phase: 'Complete', completedAt: timestamp(input.now) }, release, freeSlots: 0 };
  }
  const released = new Set(release);
  const reporting = nodes.filter(({ name, reporting }) => reporting && released.has(name)).length;
  const heldUp = release.length === 0 && !nodes.some(({ state }) => state.kind === 'inFlight');
  return { status, release, freeSlots: free - reporting, heldUp, againAfterMs: heldUp ? START_MS : deadline(input) };
}

/** As many nodes as may be unavailable, less those that are. */
function slots({ settings, nodes }: RolloutInput): number {
  const inFlight = nodes.filter(({ state }) => state.kind === 'inFlight').length;
  return Math.max(0, Math.max(1, scaled(settings.maxUnavailable, nodes.length, Math.ceil)) - inFlight);
}

/** The first waiting nodes for which there are slots. Nodes without an agent wait for nobody and take none. */
function choose(among: readonly RolloutNode[], free: number, alone: boolean): string[] {
  const release: string[] = [];
  for (const { name, state, reporting, claim } of among) {
    if (state.kind !== 'waiting') continue;
    if (reporting && (free <= 0 || !(claim() || alone))) continue;
    if (reporting) free -= 1;
    release.push(name);
  }
  return release;
}

function isUnsettled({ state }: RolloutNode): boolean {
  return state.kind === 'waiting' || state.kind === 'inFlight';
}

function deadline({ settings }: RolloutInput): number {
  return parseDuration(settings.progressDeadline) + 1_000;
}
