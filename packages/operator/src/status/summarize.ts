// SPDX-License-Identifier: Apache-2.0
/** The whole status of a policy. The only place that puts conditions together. */
import {
  type Condition,
  findCondition,
  type KernelLimit,
  MAX_KERNEL_LIMITS,
  type ProfilingPolicySpec,
  type ProfilingPolicyStatus,
  type RolloutStatus,
  setCondition,
} from '@plumbline/api';
import type { Loss } from '../merge/merge.ts';
import type { Clamp } from '../merge/rule.ts';
import type { NodeState } from '../rollout/node-state.ts';
import type { NodeConfigView, Trouble } from '../views.ts';
import {
  accepted,
  clamped,
  conflicted,
  degraded,
  type FailingNode,
  type Finding,
  type NodeCounts,
  objectiveMet,
  progressing,
  ready,
} from './conditions.ts';
import { roughly, summarizeTruncation, type TruncationSummary } from './truncation.ts';

export interface PolicyNode {
  name: string;
  state: NodeState;
  config: NodeConfigView | undefined;
}

export interface SummaryInput {
  uid: string;
  generation: number;
  previous: ProfilingPolicyStatus;
  /** Undefined where the spec could not be read. */
  spec: ProfilingPolicySpec | undefined;
  problem: Trouble | undefined;
  rollout: RolloutStatus | undefined;
  lastGood: ProfilingPolicyStatus['lastGood'];
  nodes: readonly PolicyNode[];
  losses: readonly Loss[];
  clamps: readonly Clamp[];
  selectsNoNamespace: boolean;
  now: Date;
}

const MAX_FAILING = 10;

export function summarize(input: SummaryInput): ProfilingPolicyStatus {
  const { uid, spec, nodes, rollout, previous } = input;
  const counts = countNodes(nodes);
  const failing = failingNodes(nodes);
  const ours = nodes.flatMap(({ name, config }) => {
    const policy = config?.status.policies.get(uid);
    return policy ? [{ node: name, policy }] : [];
  });
  const truncation = summarizeTruncation(ours);
  const pods = ours.reduce((sum, { policy }) => sum + policy.overriddenPods, 0);
  const objective = Number(spec?.objective.truncatedRatio ?? '0.01');
  const acceptedFinding = accepted(input.problem);
  const paused = spec?.paused ?? false;
  const findings = [
    ready({ acceptedFinding, counts, rollout, selectsNoNamespace: input.selectsNoNamespace, paused }),
    acceptedFinding,
    progressing(rollout, paused, counts),
    degraded(counts, failing),
    conflicted(input.losses, pods),
    clamped(input.clamps),
    objectiveMet(truncation, objective, findCondition(previous.conditions, 'ObjectiveMet')),
  ];
  return {
    observedGeneration: input.generation,
    nodes: counts,
    ...(rollout && { rollout }),
    ...(input.lastGood && { lastGood: input.lastGood }),
    ...(truncation.samples > 0 && { truncation: truncationStatus(truncation) }),
    strategies: tally(nodes, 8, ({ status }) => status.strategy),
    kernels: tally(nodes, 16, ({ status }) => status.kernelSeries),
    ...kernelLimits(nodes),
    failingNodes: failing.slice(0, MAX_FAILING),
    conditions: mergeConditions(previous.conditions ?? [], findings, input.generation, input.now),
  };
}

function countNodes(nodes: readonly PolicyNode[]): NodeCounts {
  const counts = { targeted: nodes.length, updated: 0, applied: 0, failed: 0, notReporting: 0 };
  for (const { state } of nodes) {
    if (state.kind !== 'waiting') counts.updated += 1;
    if (state.kind === 'applied' || state.kind === 'failed' || state.kind === 'notReporting') counts[state.kind] += 1;
  }
  return counts;
}

function failingNodes(nodes: readonly PolicyNode[]): FailingNode[] {
  return nodes
    .flatMap(({ name, state }) =>
      state.kind === 'failed' ? [{ name, reason: state.reason, message: state.message.slice(0, 256) }] : [],
    )
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

function truncationStatus(truncation: TruncationSummary): ProfilingPolicyStatus['truncation'] {
  const {
    ratioText: ratio,
    baselineText,
    depth,
    baselineDepth,
    samples,
    worstWorkload,
    topReason,
    topFile,
    degradedNodes,
    worstNode,
  } = truncation;
  return {
    ratio,
    ...(baselineText !== undefined && { baselineRatio: baselineText }),
    ...(depth !== undefined && { depth }),
    ...(baselineDepth !== undefined && { baselineDepth }),
    samples: roughly(samples),
    ...(worstWorkload !== undefined && { worstWorkload }),
    ...(topReason !== undefined && { topReason }),
    ...(topFile !== undefined && { topFile }),
    degradedNodes,
    ...(worstNode !== undefined && { worstNode }),
  };
}

/** How many nodes have which value, most frequent first. */
function tally(nodes: readonly PolicyNode[], limit: number, pick: (config: NodeConfigView) => string | undefined) {
  const counts = new Map<string, number>();
  for (const { config } of nodes) {
    const value = config && pick(config);
    if (value) counts.set(value, (counts.get(value) ?? 0) + 1);
  }
  const sorted = [...counts].sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1));
  return sorted.slice(0, limit).map(([name, count]) => ({ name: name.slice(0, 32), nodes: count }));
}

/** What newer kernels would lift, on how many nodes. */
function kernelLimits(nodes: readonly PolicyNode[]): Pick<ProfilingPolicyStatus, 'kernelLimits'> {
  const found = new Map<string, KernelLimit & { nodes: number }>();
  for (const { config } of nodes) {
    for (const limit of config?.status.kernelLimits ?? []) {
      const known = found.get(limit.feature);
      if (known) known.nodes += 1;
      else found.set(limit.feature, { ...limit, nodes: 1 });
    }
  }
  if (found.size === 0) return {};
  const sorted = [...found.values()].sort((a, b) => b.nodes - a.nodes || (a.feature < b.feature ? -1 : 1));
  return { kernelLimits: sorted.slice(0, MAX_KERNEL_LIMITS) };
}

function mergeConditions(
  previous: readonly Condition[],
  findings: Finding[],
  observedGeneration: number,
  now: Date,
): Condition[] {
  // Only the types that this operator knows: one that a newer version wrote would otherwise stay for ever, and be wrong.
  let conditions = previous.filter(({ type }) => findings.some((finding) => finding.type === type));
  for (const finding of findings) {
    const message = finding.message.slice(0, 1024);
    conditions = setCondition(conditions, { ...finding, message, observedGeneration }, now);
  }
  return conditions;
}
