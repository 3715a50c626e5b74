// SPDX-License-Identifier: Apache-2.0
/** Expressions that more than one dashboard asks. */
import { USER_STACKS } from '../recording-rules.ts';

const INTERVAL = '[$__rate_interval]';

/** Samples a second by labels. @param matchers such as `outcome="truncated"` */
export function rate(metric: string, by: string, ...matchers: string[]): string {
  const selector = matchers.filter((matcher) => matcher !== '').join(', ');
  const sum = by === '' ? 'sum' : `sum by (${by})`;
  return `${sum} (rate(${metric}{${selector}}${INTERVAL}))`;
}

/** Truncated share by labels; zero where nothing was cut. */
export function ratio(metric: string, by: string, ...matchers: string[]): string {
  const all = rate(metric, by, USER_STACKS, ...matchers);
  return `(${rate(metric, by, 'outcome="truncated"', ...matchers)} or 0 * ${all}) / (${all} > 0)`;
}

/** A sum that is zero where there is no series. */
export const orZero = (expression: string) => `${expression} or vector(0)`;

/** Samples that were lost, by reason, as a share of those that are wanted. */
export function lost(matchers = ''): string {
  const of = (outcome: string) => rate('plumbline_samples_total', '', outcome, matchers);
  return `(${of('outcome="dropped"')} or vector(0)) / (${of('outcome!="filtered"')} > 0)`;
}

export const quantile = (q: number, metric: string, matchers: string) =>
  `histogram_quantile(${q}, sum by (le) (rate(${metric}_bucket{${matchers}}${INTERVAL})))`;
