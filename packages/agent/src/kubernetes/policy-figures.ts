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
  incrementFile,
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
  'bucket' | 'ratio' | 'depth' | 'samples' | 'truncated' | 'worstWorkload' | 'topReason' | 'topFile'
>;

/** What of a stack only others know. */
export interface StackDescriber {
  /** `namespace/name` */
  workload(count: StackCount): string;
  /** The file in which the walk stopped: path and build id. */
  file(count: StackCount): string | undefined;
}

export class PolicyFigures {
  /** A new revision of a policy starts anew: what was before says nothing about it. */
  #windows = new Map<string, TruncationWindow>();

  add(spec: NodeProfilingSpec, counts: readonly StackCount[], describe: StackDescriber, nowMs: number): void {
    const byRule = spec.rules.map(emptyCounts);
    for (const count of counts) {
      const into = byRule[count.stack.policy - 1];
      if (into) addStack(into, count, describe);
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
    const { bucket, samples, truncated, topReason, topFile, worstWorkload } = figures;
    return {
      bucket,
      ...(samples > 0 && { ratio: ratioText(figures.ratio), depth: Math.round(figures.frames / samples) }),
      samples,
      truncated,
      ...(worstWorkload !== undefined && { worstWorkload: worstWorkload.slice(0, 317) }),
      ...(topReason !== undefined && { topReason }),
      ...(topFile !== undefined && { topFile: topFile.slice(0, 512) }),
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

function addStack(into: IntervalCounts, count: StackCount, describe: StackDescriber): void {
  const outcome = outcomeNames[count.stack.reason] ?? 'truncated';
  if (outcome !== 'complete' && outcome !== 'recovered' && outcome !== 'truncated') return;
  into.samples += count.count;
  into.frames += count.stack.user.length * count.count;
  if (outcome !== 'truncated') return;
  into.truncated += count.count;
  const reason = reasonNames[count.stack.reason] ?? 'internal_error';
  increment(into.byReason, reason, count.count);
  increment(into.byWorkload, describe.workload(count), count.count);
  const file = describe.file(count);
  if (file !== undefined) incrementFile(into, reason, file, count.count);
}

function windowOf({ objective }: NodeRule): TruncationWindow {
  return new TruncationWindow(Number(objective.truncatedRatio), parseDuration(objective.window));
}

function keyOf({ policy, objective }: NodeRule): string {
  return JSON.stringify([policy.uid, policy.name, policy.revision, objective]);
}

/** Rounded to 0.001, so that a status changes only when there is something to say. */
export function ratioText(ratio: number): string {
  return String(Number(Math.min(1, ratio).toFixed(3)));
}
