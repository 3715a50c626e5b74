// SPDX-License-Identifier: Apache-2.0
/** Completeness of one policy's stacks over all nodes. */
import type { NodePolicyView } from '../views.ts';

export interface TruncationSummary {
  samples: number;
  /** Truncated share of the samples; 0 without any. */
  ratio: number;
  /** Rounded to four places. */
  ratioText: string;
  baselineText: string | undefined;
  /** User frames of a sample, on average; two significant digits. */
  depth: number | undefined;
  baselineDepth: number | undefined;
  worstWorkload: string | undefined;
  topReason: string | undefined;
  /** Where most walks that were cut for that reason stopped. */
  topFile: string | undefined;
  degradedNodes: number;
  worstNode: string | undefined;
}

/** Samples below which a single node is not called the worst. */
const MIN_NODE_SAMPLES = 20;

export function summarizeTruncation(nodes: Iterable<{ node: string; policy: NodePolicyView }>): TruncationSummary {
  let samples = 0;
  let truncated = 0;
  let degradedNodes = 0;
  const baseline = new WeightedMean();
  const depth = new WeightedMean();
  const baselineDepth = new WeightedMean();
  let worst: { node: string; ratio: number; truncated: number } | undefined;
  const reasons = new Map<string, number>();
  const workloads = new Map<string, number>();
  /** By reason. */
  const files = new Map<string, Map<string, number>>();
  for (const { node, policy } of nodes) {
    samples += policy.samples;
    truncated += policy.truncated;
    if (policy.bucket === 'Degraded') degradedNodes += 1;
    baseline.add(policy.baselineRatio, policy.samples);
    depth.add(policy.depth, policy.samples);
    baselineDepth.add(policy.baselineDepth, policy.samples);
    if (policy.topReason) {
      add(reasons, policy.topReason, policy.truncated);
      if (policy.topFile) {
        const ofReason = files.get(policy.topReason) ?? new Map<string, number>();
        add(ofReason, policy.topFile, policy.truncated);
        files.set(policy.topReason, ofReason);
      }
    }
    if (policy.worstWorkload) add(workloads, policy.worstWorkload, policy.truncated);
    const ratio = policy.truncated / Math.max(1, policy.samples);
    if (policy.samples >= MIN_NODE_SAMPLES && policy.truncated > 0 && (!worst || ratio > worst.ratio)) {
      worst = { node, ratio, truncated: policy.truncated };
    }
  }
  const ratio = samples > 0 ? truncated / samples : 0;
  const topReason = largest(reasons);
  return {
    samples,
    ratio,
    ratioText: ratioText(ratio),
    baselineText: baseline.value === undefined ? undefined : ratioText(baseline.value),
    depth: depth.value === undefined ? undefined : roughly(depth.value),
    baselineDepth: baselineDepth.value === undefined ? undefined : roughly(baselineDepth.value),
    worstWorkload: largest(workloads),
    topReason,
    topFile: topReason === undefined ? undefined : largest(files.get(topReason) ?? new Map()),
    degradedNodes,
    worstNode: worst?.node,
  };
}

class WeightedMean {
  #sum = 0;
  #weight = 0;

  add(value: number | undefined, weight: number): void {
    if (value === undefined) return;
    this.#sum += value * weight;
    this.#weight += weight;
  }

  get value(): number | undefined {
    return this.#weight > 0 ? this.#sum / this.#weight : undefined;
  }
}

function add(counts: Map<string, number>, key: string, count: number): void {
  counts.set(key, (counts.get(key) ?? 0) + count);
}

/** The key with the highest count; of equal ones the first by name, so that nothing depends on order. */
function largest(counts: Map<string, number>): string | undefined {
  return [...counts].filter(([, count]) => count > 0).sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1))[0]?.[0];
}

/** At most four decimal places, without zeros at the end: `0.0042`, `0`, `1`. */
export function ratioText(ratio: number): string {
  return String(Number(Math.min(1, ratio).toFixed(4)));
}

/** Two significant digits of a count: figures in a status are for people and must not change with every report. */
export function roughly(count: number): number {
  return Math.round(Number(count.toPrecision(2)));
}
