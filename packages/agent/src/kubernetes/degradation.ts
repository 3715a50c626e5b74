// SPDX-License-Identifier: Apache-2.0
/** What makes an agent profile less well than asked for, once it lasts. Pure: the caller says what time it is. */
import type { Reason } from '@plumbline/api';

/** One interval as far as it tells of trouble. */
export interface IntervalHealth {
  readonly frequencyHz: number;
  /** What the configuration asks for. */
  readonly wantedFrequencyHz: number;
  /** Over the budget although the frequency is as low as it gets. */
  readonly budgetExhausted: boolean;
  /** Samples that fired, and of these the dropped ones. */
  readonly fired: number;
  readonly dropped: number;
  readonly exports: readonly {
    readonly name: string;
    /** Requests that wait. */
    readonly queued: number;
    /** Requests delivered in the interval. */
    readonly sent: number;
  }[];
}

export interface Trouble {
  readonly reason: Reason;
  readonly message: string;
}

interface Check {
  readonly reason: Reason;
  /** How long it must be there to be told, and gone to be withdrawn: ms. */
  readonly holdMs: number;
  /** What is wrong in this interval, in words that stay the same from one interval to the next. */
  readonly look: (health: IntervalHealth) => string | undefined;
}

/** In the order of importance; the first that holds is told. */
const CHECKS: readonly Check[] = [
  {
    reason: 'SamplesLost',
    holdMs: 60_000,
    look: ({ fired, dropped }) =>
      fired >= 100 && dropped > 0.05 * fired
        ? 'more than 5 % of the samples are dropped before they are read'
        : undefined,
  },
  {
    reason: 'ExportFailing',
    holdMs: 5 * 60_000,
    look: ({ exports }) => {
      const stuck = exports.filter(({ queued, sent }) => queued > 0 && sent === 0).map(({ name }) => name);
      return stuck.length > 0 ? `nothing can be delivered to ${stuck.sort().join(', ')}` : undefined;
    },
  },
  {
    reason: 'OverBudget',
    holdMs: 2 * 60_000,
    look: ({ frequencyHz, wantedFrequencyHz, budgetExhausted }) =>
      budgetExhausted
        ? `over the budget even at ${frequencyHz} Hz, the lowest frequency for ${wantedFrequencyHz} Hz asked for`
        : frequencyHz < wantedFrequencyHz / 2
          ? `sampling at less than half of ${wantedFrequencyHz} Hz, to stay within the budget`
          : undefined,
  },
];

export class Degradation {
  readonly #states = CHECKS.map(() => ({ since: 0, seen: false, told: undefined as Trouble | undefined }));

  observe(health: IntervalHealth, nowMs: number): void {
    for (const [index, { reason, holdMs, look }] of CHECKS.entries()) {
      const state = this.#states[index];
      const message = look(health);
      if ((message !== undefined) !== state.seen) {
        state.seen = message !== undefined;
        state.since = nowMs;
      }
      if (nowMs - state.since < holdMs) continue;
      state.told = message === undefined ? undefined : { reason, message };
    }
  }

  /** The most important trouble that lasts. */
  get trouble(): Trouble | undefined {
    return this.#states.find(({ told }) => told)?.told;
  }
}
