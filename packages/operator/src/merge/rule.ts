// SPDX-License-Identifier: Apache-2.0
/** One policy as one rule of a node, the same on every node. */
import {
  canonicalHash,
  isEmptySelector,
  type Labels,
  MAX_NAMESPACES,
  matchesSelector,
  type NodeProfilingConfigSpec,
  type OtlpExport,
  selectorsOverlap,
} from '@plumbline/api';
import type { EffectivePolicy } from './precedence.ts';

export type Rule = NodeProfilingConfigSpec['rules'][number];
export type Export = NodeProfilingConfigSpec['exports'][number];

export interface NamespaceView {
  name: string;
  labels: Labels;
}

/** What the operator was started with; it bounds what policies may ask. */
export interface Limits {
  maxFrequencyHz: number;
  maxCpuPercentOfNode: number;
  /** Where profiles of policies without an export go. */
  defaultExport?: OtlpExport;
  /** OpenTelemetry resource attributes for everything, such as k8s.cluster.name. */
  resourceAttributes: Record<string, string>;
}

/** A limit that lowered what the policy asks for. */
export interface Clamp {
  reason: 'FrequencyLimit' | 'BudgetLimit';
  message: string;
}

export interface CompiledPolicy {
  policy: EffectivePolicy;
  /** Undefined where the policy selects nothing at the moment. */
  rule: Rule | undefined;
  exports: Export[];
  cpuPercentOfNode: number;
  clamps: Clamp[];
  /** Why the policy cannot be used. */
  problem?: { reason: 'TooManyNamespaces'; message: string };
}

/** The rule that a policy becomes, given the namespaces that exist. */
export function compilePolicy(
  policy: EffectivePolicy,
  namespaces: Iterable<NamespaceView>,
  limits: Limits,
): CompiledPolicy {
  const { spec } = policy;
  const { target, sampling, unwinding } = spec;
  const clamps: Clamp[] = [];
  const frequencyHz = Math.min(sampling.frequencyHz, limits.maxFrequencyHz);
  if (frequencyHz < sampling.frequencyHz) {
    clamps.push({ reason: 'FrequencyLimit', message: `frequencyHz ${sampling.frequencyHz} lowered to ${frequencyHz}` });
  }
  const cpuPercentOfNode = Math.min(Number(spec.budget.cpuPercentOfNode), limits.maxCpuPercentOfNode);
  if (cpuPercentOfNode < Number(spec.budget.cpuPercentOfNode)) {
    const message = `cpuPercentOfNode ${spec.budget.cpuPercentOfNode} lowered to ${cpuPercentOfNode}`;
    clamps.push({ reason: 'BudgetLimit', message });
  }
  const exports = exportsOf(spec.export.otlp ?? limits.defaultExport, spec.export.foldRecursion ?? false);
  const compiled: CompiledPolicy = { policy, rule: undefined, exports, cpuPercentOfNode, clamps };
  const pods = selectedNamespaces(policy, namespaces);
  if (pods.names.length > MAX_NAMESPACES) {
    const message = `namespaceSelector matches ${pods.names.length} namespaces; at most ${MAX_NAMESPACES} fit into a node's object. Use podSelector without namespaceSelector, or several policies`;
    return { ...compiled, problem: { reason: 'TooManyNamespaces', message } };
  }
  if (!pods.all && pods.names.length === 0 && !target.hostProcesses) return compiled;
  const rule: Rule = {
    policy: { name: policy.name, uid: policy.uid, revision: policy.revision },
    allNamespaces: pods.all,
    namespaces: pods.names,
    podSelector: target.podSelector ?? {},
    containers: [...target.containers].sort(),
    hostProcesses: target.hostProcesses,
    frequencyHz,
    unwinding: {
      maxFrames: unwinding.maxFrames,
      spill: unwinding.spill,
      ...(unwinding.runtimes && { runtimes: [...unwinding.runtimes].sort() }),
    },
    objective: spec.objective,
    exports: exports.map(({ name }) => name),
  };
  return { ...compiled, rule };
}

function exportsOf(otlp: OtlpExport | undefined, foldRecursion: boolean): Export[] {
  if (!otlp) return [];
  // Named by content, so that policies with the same destination share it, whatever else is on the node.
  const name = `otlp-${canonicalHash(otlp).slice(0, 8)}`;
  if (!foldRecursion) return [{ name, otlp, markTruncated: true }];
  return [{ name: `${name}-folded`, otlp, markTruncated: true, foldRecursion }];
}

function selectedNamespaces(
  { spec }: EffectivePolicy,
  namespaces: Iterable<NamespaceView>,
): { all: boolean; names: string[] } {
  const { allPods, namespaceSelector, podSelector } = spec.target;
  if (allPods) return { all: true, names: [] };
  if (!isEmptySelector(namespaceSelector)) {
    const names = [...namespaces].filter(({ labels }) => matchesSelector(namespaceSelector, labels));
    return { all: false, names: names.map(({ name }) => name).sort() };
  }
  // Without a selector of its own, hostProcesses: true selects no pods.
  return { all: !isEmptySelector(podSelector), names: [] };
}

/** Whether some process could match both rules. */
export function rulesOverlap(a: Rule, b: Rule): boolean {
  return (a.hostProcesses && b.hostProcesses) || podsOverlap(a, b);
}

function podsOverlap(a: Rule, b: Rule): boolean {
  const namespaces = a.allNamespaces
    ? b.allNamespaces || b.namespaces.length > 0
    : b.allNamespaces
      ? a.namespaces.length > 0
      : intersects(a.namespaces, b.namespaces);
  const containers = a.containers.length === 0 || b.containers.length === 0 || intersects(a.containers, b.containers);
  return namespaces && containers && selectorsOverlap(a.podSelector, b.podSelector);
}

function intersects(a: readonly string[], b: readonly string[]): boolean {
  const set = new Set(a);
  return b.some((item) => set.has(item));
}
