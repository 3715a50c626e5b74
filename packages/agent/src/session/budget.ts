// SPDX-License-Identifier: Apache-2.0
/** Holds what profiling costs to a share of the node's CPU time, by the sampling frequency. Pure. */

export interface BudgetOptions {
  /** Share of the node's CPU time, between 0 and 1. */
  readonly ratio: number;
  readonly throttle: boolean;
  /** What the configuration asks for. */
  readonly frequencyHz: number;
}

/** Below this share of the budget the frequency rises again: the gap keeps it from swinging. */
const RELIEF = 0.7;
const MIN_FREQUENCY_HZ = 1;
/** Weight of the newest interval in the running mean: a burst, such as reading the symbols of new programs, is no trend. */
const NEWEST = 0.2;
/** One step up is at most this much, so that a quiet interval does not undo the throttling of a busy one. */
const MAX_RISE = 1.5;

export class Budget {
  readonly #options: BudgetOptions;
  #frequencyHz: number;
  #mean: number | undefined;

  constructor(options: BudgetOptions) {
    this.#options = options;
    this.#frequencyHz = options.frequencyHz;
  }

  get ratio(): number {
    return this.#options.ratio;
  }

  get frequencyHz(): number {
    return this.#frequencyHz;
  }

  get throttled(): boolean {
    return this.#frequencyHz < this.#options.frequencyHz;
  }

  /** Takes the share that an interval cost; returns the frequency from now on. */
  observe(ratio: number): number {
    const { ratio: budget, throttle, frequencyHz } = this.#options;
    if (!throttle || ratio < 0) return this.#frequencyHz;
    // The first intervals set the scene: from none.
    const mean = NEWEST * ratio + (1 - NEWEST) * (this.#mean ?? 0);
    this.#mean = mean;
    if (mean > budget) {
      this.#frequencyHz = Math.max(MIN_FREQUENCY_HZ, Math.floor((this.#frequencyHz * budget) / mean));
    } else if (this.throttled && mean < budget * RELIEF) {
      const wanted = Math.min(MAX_RISE, (budget * RELIEF) / Math.max(mean, 1e-9)) * this.#frequencyHz;
      this.#frequencyHz = Math.min(frequencyHz, Math.max(this.#frequencyHz + 1, Math.floor(wanted)));
    }
    return this.#frequencyHz;
  }
}
