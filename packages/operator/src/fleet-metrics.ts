// SPDX-License-Identifier: Apache-2.0
/** What the fleet looks like, as gauges that are worked out when they are asked for. */
import type { Fleet } from './fleet.ts';
import type { OperatorMetrics } from './metrics.ts';
import type { PolicyState } from './policy-state.ts';
import type { NodeConfigView } from './views.ts';

type Sample = [Record<string, string>, number];

export function collectFleet(metrics: OperatorMetrics, fleet: Fleet): void {
  const ofPolicies = (samples: (state: PolicyState) => Sample[]) => () => [...fleet.policies()].flatMap(samples);
  const ratio = (policy: string, text: string | undefined): Sample[] =>
    text === undefined ? [] : [[{ policy }, Number(text)]];
  /** How many nodes have each set of labels. */
  const countedNodes = (labelsOf: (node: NodeConfigView) => Record<string, string>[]) => () => {
    const nodes = [...fleet.configs.values()];
    const groups = Map.groupBy(nodes.flatMap(labelsOf), (labels) => Object.values(labels).join('\0'));
    return [...groups.values()].map((same): Sample => [same[0], same.length]);
  };
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
    ofPolicies(({ view }) => ratio(view.name, view.status.truncation?.ratio)),
  );
  metrics.collected(
    'plumbline_policy_baseline_ratio',
    'Usual truncated share of a policy over the last days, as the agents remember it.',
    ['policy'],
    ofPolicies(({ view }) => ratio(view.name, view.status.truncation?.baselineRatio)),
  );
  metrics.collected(
    'plumbline_policy_objective_ratio',
    'Truncated share that the policy promises not to exceed.',
    ['policy'],
    ofPolicies(({ view, current }) => ratio(view.name, current?.spec.objective.truncatedRatio)),
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
    countedNodes((node) =>
      node.status.lastHeartbeat === undefined
        ? []
        : [{ strategy: node.status.strategy ?? 'unknown', kernel: node.status.kernelSeries ?? 'unknown' }],
    ),
  );
  metrics.collected(
    'plumbline_nodes_kernel_lacks',
    'Nodes with a reporting agent whose kernel lacks a feature, and the first kernel that has it.',
    ['feature', 'since'],
    countedNodes(({ status }) => status.kernelLimits.map(({ feature, since }) => ({ feature, since }))),
  );
}
