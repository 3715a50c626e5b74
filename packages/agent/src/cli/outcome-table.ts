// SPDX-License-Identifier: Apache-2.0
/** Outcomes of samples as people and machines read them: counted by reason, with shares, and the truncated ratio. */
import type { OutcomeCounters } from '../recording-options.ts';

/** The list of reasons as generated from packages/bpf/bpf/reasons.h. */
export interface ReasonDescription {
  readonly name: string;
  readonly outcome: string;
  readonly sentence: string;
}

export interface OutcomeRow {
  readonly outcome: string;
  readonly reason: string;
  readonly sentence: string;
  readonly count: number;
  /** Of the samples that fired and were not filtered, 0 to 1; 0 for filtered ones. */
  readonly share: number;
}

export interface OutcomeTable {
  readonly fired: number;
  /** By outcome in a fixed order, then the most frequent reason first. */
  readonly rows: readonly OutcomeRow[];
  readonly byOutcome: Readonly<Record<string, number>>;
  /** Samples with a user stack: complete, recovered and truncated ones. */
  readonly userStacks: number;
  /** truncated / userStacks; 0 when there are none. */
  readonly truncatedRatio: number;
  /** Samples that fired but are in no outcome. Not 0 only while samples are in flight, or by a defect. */
  readonly unaccounted: number;
}

/** The order in which outcomes are shown: good ones first, then those that cost something, then the rest. */
const ORDER = ['complete', 'recovered', 'truncated', 'dropped', 'kernel_only', 'filtered', 'unknown'];

export function tabulate(counters: OutcomeCounters, reasons: readonly ReasonDescription[]): OutcomeTable {
  const described = new Map(reasons.map((reason) => [reason.name, reason]));
  const counted = Object.entries(counters.byReason).filter(([, count]) => count > 0);
  const byOutcome: Record<string, number> = {};
  let sum = 0;
  for (const [name, count] of counted) {
    const outcome = described.get(name)?.outcome ?? 'unknown';
    byOutcome[outcome] = (byOutcome[outcome] ?? 0) + count;
    sum += count;
  }
  const selected = sum - (byOutcome.filtered ?? 0);
  const rows = counted.map(([reason, count]): OutcomeRow => {
    const { outcome, sentence } = described.get(reason) ?? { outcome: 'unknown', sentence: '' };
    const share = outcome === 'filtered' || selected === 0 ? 0 : count / selected;
    return { outcome, reason, sentence, count, share };
  });
  rows.sort((a, b) => ORDER.indexOf(a.outcome) - ORDER.indexOf(b.outcome) || b.count - a.count);
  const truncated = byOutcome.truncated ?? 0;
  const userStacks = (byOutcome.complete ?? 0) + (byOutcome.recovered ?? 0) + truncated;
  return {
    fired: counters.fired,
    rows,
    byOutcome,
    userStacks,
    truncatedRatio: userStacks === 0 ? 0 : truncated / userStacks,
    unaccounted: counters.fired - sum,
  };
}

/** `98.9 %`; never rounds a part up to the whole or down to nothing. */
export function percent(share: number): string {
  if (share > 0 && share < 0.0005) return '<0.1 %';
  if (share < 1 && share > 0.9995) return '>99.9 %';
  return `${(share * 100).toFixed(1)} %`;
}

/** `1,234,567` */
export function grouped(count: number): string {
  return String(count).replace(/\B(?=([0-9]{3})+(?![0-9]))/g, ',');
}
