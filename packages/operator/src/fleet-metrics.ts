// SPDX-License-Identifier: Apache-2.0
/** What the fleet looks like, as gauges that are worked out when they are asked for. */
import type { Fleet } from './fleet.ts';
import type { OperatorMetrics } from './metrics.ts';
import type { PolicyState } from './policy-state.ts';

type Sample = [Record<string, string>, number];

export function collectFleet(metrics: OperatorMetrics, fleet: Fleet): void {
  const ofPolicies = (samples: (state: PolicyState) => Sample[]) => () => [...fleet.policies()].flatMap(samples);
  metrics.collected(
    'plumbline_policy_nodes',
    'Nodes of a policy by state: targeted, updated, applied, failed, notReporting.',
    ['policy', 'state'],
    ofPolicies(({ view }) =>
      Object.entries(view.status.nodes ?? {}).map(([state, count]): Sample => [{ policy: view.name, state }, count]),
    ),
  );
  metrics.collected(
    'plumbline_policy_truncated_ratio',
    'Truncated share of the user samples of a policy over all nodes.',
    ['policy'],
    ofPolicies(({ view }) => {
      const ratio = view.status.truncation?.ratio;
      return ratio === undefined ? [] : [[{ policy: view.name }, Number(ratio)]];
    }),
  );
  metrics.collected(
    'plumbline_policy_baseline_ratio',
    'Usual truncated share of a policy over the last days, as the agents remember it.',
    ['policy'],
    ofPolicies(({ view }) => {
      const ratio = view.status.truncation?.baselineRatio;
      return ratio === undefined ? [] : [[{ policy: view.name }, Number(ratio)]];
    }),
  );
  metrics.collected(
    'plumbline_policy_objective_ratio',
    'Truncated share that the policy promises not to exceed.',
    ['policy'],
    ofPolicies(({ view, current }) =>
      current ? [[{ policy: view.name }, Number(current.spec.objective.truncatedRatio)]] : [],
    ),
  );
  metrics.collected(
    'plumbline_policy_condition',
    '1 for the status that a condition of a policy has.',
    ['policy', 'type', 'status', 'reason'],
    ofPolicies(({ view }) =>
      (view.status.conditions ?? []).map(
        ({ type, status, reason }): Sample => [{ policy: view.name, type, status, reason }, 1],
      ),
    ),
  );
  metrics.collected(
    'plumbline_policy_rollout_phase',
    '1 for the phase of the rollout of a policy.',
    ['policy', 'phase'],
    ofPolicies(({ view, rollout }) => (rollout ? [[{ policy: view.name, phase: rollout.phase }, 1]] : [])),
  );
  metrics.collected(
    'plumbline_nodes',
    'Nodes with a reporting agent by unwind strategy and kernel series.',
    ['strategy', 'kernel'],
    () => {
      const counts = new Map<string, number>();
      for (const { status } of fleet.configs.values()) {
        if (status.lastHeartbeat === undefined) continue;
        const kernel = /^\d+\.\d+/.exec(status.kernel ?? '')?.[0] ?? 'unknown';
        const key = JSON.stringify({ strategy: status.strategy ?? 'unknown', kernel });
        counts.set(key, (counts.get(key) ?? 0) + 1);
      }
      return [...counts].map(([key, count]): Sample => [JSON.parse(key), count]);
    },
  );
  metrics.collected(
    'plumbline_nodes_kernel_lacks',
    'Nodes with a reporting agent whose kernel lacks a feature, and the first kernel that has it.',
    ['feature', 'since'],
    () => {
      const counts = new Map<string, number>();
      for (const { status } of fleet.configs.values()) {
        for (const { feature, since } of status.kernelLimits) {
          const key = JSON.stringify({ feature, since });
          counts.set(key, (counts.get(key) ?? 0) + 1);
        }
      }
      return [...counts].map(([key, count]): Sample => [JSON.parse(key), count]);
    },
  );
}
