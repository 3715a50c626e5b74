// SPDX-License-Identifier: Apache-2.0
/** Times and thresholds of the rules. Tests of the whole way shorten the times; nothing else about the rules changes. */

export interface RuleParameters {
  /** How often the rules are evaluated. */
  readonly interval: string;
  /** Windows of ratios: an alert needs both, so that it neither fires for a moment nor stays long after the cure. */
  readonly short: string;
  readonly long: string;
  /** What a workload's own history is: so long, up to so long ago. */
  readonly history: string;
  readonly historyOffset: string;
  /** Window in which reasons are compared with those of the history. */
  readonly reasons: string;
  /** How long a condition must last: of stacks, of agents and receivers, of what is only a notice. */
  readonly holdStacks: string;
  readonly holdAgent: string;
  readonly holdNotice: string;
  /** User stacks of the long window (and of the history) below which a ratio says nothing. */
  readonly enough: number;
  readonly enoughHistory: number;
}

export const RULE_PARAMETERS: RuleParameters = {
  interval: '30s',
  short: '5m',
  long: '1h',
  history: '1d',
  historyOffset: '1h',
  reasons: '30m',
  holdStacks: '5m',
  holdAgent: '10m',
  holdNotice: '1h',
  enough: 200,
  enoughHistory: 1000,
};

/** Seconds of a duration as Prometheus writes it: one number and one unit. */
export function secondsOf(duration: string): number {
  const [, number, unit] = /^([0-9]+)(s|m|h|d)$/.exec(duration) ?? [];
  if (number === undefined) throw new TypeError(`not a duration: ${duration}`);
  return Number(number) * { s: 1, m: 60, h: 3600, d: 86_400 }[unit as 's' | 'm' | 'h' | 'd'];
}
