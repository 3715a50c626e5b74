// SPDX-License-Identifier: Apache-2.0
/** How complete the stacks of each policy are on this node, over the window of its objective. */
import { type NodePolicyStatus, type NodeProfilingSpec, type NodeRule, parseDuration } from '@plumbline/api';
import type { StackCount } from '../samples/aggregate.ts';
import { outcomeNames, reasonNames } from '../samples/decode.ts';
import {
  addCounts,
  emptyCounts,
  type IntervalCounts,
  increment,
  largest,
  ratioOf,
  type TruncationBucket,
  TruncationWindow,
} from './truncation-window.ts';

export interface NodeTruncation {
  readonly bucket: TruncationBucket;
  readonly ratio?: string;
  readonly topReason?: string;
}

/** Figures as they go into the status; the rest of a policy's entry is known from its rule and the pods. */
export type PolicyTruncation = Pick<
  NodePolicyStatus,
  'bucket' | 'ratio' | 'samples' | 'truncated' | 'worstWorkload' | 'topReason'
>;

export class PolicyFigures {
  /** A new revision of a policy starts anew: what was before says nothing about it. */
  #windows = new Map<string, TruncationWindow>();

  /** @param workload names the workload of a stack, `namespace/name` */
  add(
    spec: NodeProfilingSpec,
    counts: readonly StackCount[],
    workload: (count: StackCount) => string,
    nowMs: number,
  ): void {
    const byRule = spec.rules.map(emptyCounts);
    for (const count of counts) {
      const into = byRule[count.stack.policy - 1];
      if (into) addStack(into, count, workload);
    }
    const before = this.#windows;
    this.#windows = new Map();
    for (const [index, rule] of spec.rules.entries()) {
      const key = keyOf(rule);
      const window = before.get(key) ?? windowOf(rule);
      window.add(byRule[index], nowMs);
      this.#windows.set(key, window);
    }
  }

  of(rule: NodeRule, nowMs: number): PolicyTruncation {
    const figures = this.#windows.get(keyOf(rule))?.figures(nowMs);
    if (!figures) return { bucket: 'Unknown' };
    const { bucket, samples, truncated, topReason, worstWorkload } = figures;
    return {
      bucket,
      ...(samples > 0 && { ratio: ratioText(figures.ratio) }),
      samples,
      truncated,
      ...(worstWorkload !== undefined && { worstWorkload: worstWorkload.slice(0, 317) }),
      ...(topReason !== undefined && { topReason }),
    };
  }

  /** Over all policies. */
  node(nowMs: number): NodeTruncation {
    const total = emptyCounts();
    const buckets = new Set<TruncationBucket>();
    for (const window of this.#windows.values()) {
      const figures = window.figures(nowMs);
      addCounts(total, figures);
      buckets.add(figures.bucket);
    }
    const topReason = largest(total.byReason);
    return {
      bucket: buckets.has('Degraded') ? 'Degraded' : buckets.has('Ok') ? 'Ok' : 'Unknown',
      ...(total.samples > 0 && { ratio: ratioText(ratioOf(total)) }),
      ...(topReason !== undefined && { topReason }),
    };
  }
}

function addStack(into: IntervalCounts, count: StackCount, workload: (count: StackCount) => string): void {
  const outcome = outcomeNames[count.stack.reason] ?? 'truncated';
  if (outcome !== 'complete' && outcome !== 'recovered' && outcome !== 'truncated') return;
  into.samples += count.count;
  if (outcome !== 'truncated') return;
  into.truncated += count.count;
  increment(into.byReason, reasonNames[count.stack.reason] ?? 'internal_error', count.count);
  increment(into.byWorkload, workload(count), count.count);
}

function windowOf({ objective }: NodeRule): TruncationWindow {
  return new TruncationWindow(Number(objective.truncatedRatio), parseDuration(objective.window));
}

function keyOf({ policy, objective }: NodeRule): string {
  return JSON.stringify([policy.uid, policy.name, policy.revision, objective]);
}

/** Rounded to 0.001, so that a status changes only when there is something to say. */
function ratioText(ratio: number): string {
  return String(Number(Math.min(1, ratio).toFixed(3)));
}
