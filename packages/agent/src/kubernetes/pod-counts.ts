// SPDX-License-Identifier: Apache-2.0
/** How many pods each rule decides, and how many it would decide were there no rule before it. Pure. */
import type { NodeRule } from '@plumbline/api';
import type { Selection } from '../workloads/selection.ts';
import type { NodePod } from './pod.ts';

export interface PodCounts {
  readonly pods: number;
  /** The policies that take most pods from this one. */
  readonly overridden: readonly { readonly by: string; readonly pods: number }[];
}

/** As many as the status may name. */
const MAX_OVERRIDDEN = 4;

/** By index of the rule. A pod counts once for each rule that decides one of its containers. */
export function podCounts(pods: Iterable<NodePod>, selection: Selection, rules: readonly NodeRule[]): PodCounts[] {
  const decided = rules.map(() => 0);
  const taken = rules.map(() => new Map<string, number>());
  for (const { pod, containerNames } of pods) {
    const winners = new Set<number>();
    const losses = new Set<string>();
    for (const containerName of containerNames) {
      // Any id will do: which rule decides does not depend on it.
      const [winner, ...losers] = selection.matching({ containerId: pod.uid, pod, containerName });
      if (winner === undefined) continue;
      winners.add(winner);
      for (const loser of losers) losses.add(`${loser} ${winner}`);
    }
    for (const winner of winners) decided[winner]++;
    for (const loss of losses) {
      const [loser, winner] = loss.split(' ').map(Number);
      const by = rules[winner].policy.name;
      taken[loser].set(by, (taken[loser].get(by) ?? 0) + 1);
    }
  }
  return rules.map((_, index) => ({
    pods: decided[index],
    overridden: [...taken[index]]
      .sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1))
      .slice(0, MAX_OVERRIDDEN)
      .map(([by, count]) => ({ by, pods: count })),
  }));
}
