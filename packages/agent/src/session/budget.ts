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
/**
 * Lowest share of the frequency asked for. Part of the cost does not depend on the frequency (following processes, building
 * tables); where that alone exceeds the budget, sampling ever less would only make the profiles useless.
 */
const FLOOR = 1 / 4;
/** Weight of the newest interval in the running mean: a burst, such as reading the symbols of new programs, is no trend. */
const NEWEST = 0.2;
/** One step up is at most this much, so that a quiet interval does not undo the throttling of a busy one. */
const MAX_RISE = 1.5;

export class Budget {
  readonly #options: BudgetOptions;
  readonly floorHz: number;
  #frequencyHz: number;
  #mean: number | undefined;

  constructor(options: BudgetOptions) {
    this.#options = options;
    this.#frequencyHz = options.frequencyHz;
    this.floorHz = Math.max(1, Math.ceil(options.frequencyHz * FLOOR));
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

  /** The frequency is as low as it gets and the budget is exceeded all the same. */
  get exhausted(): boolean {
    const { throttle, ratio } = this.#options;
    return throttle && this.#frequencyHz === this.floorHz && (this.#mean ?? 0) > ratio;
  }

  /** Takes the share that an interval cost; returns the frequency from now on. */
  observe(ratio: number): number {
    const { ratio: budget, throttle, frequencyHz } = this.#options;
    if (!throttle || ratio < 0) return this.#frequencyHz;
    // The first intervals set the scene: from none.
    const mean = NEWEST * ratio + (1 - NEWEST) * (this.#mean ?? 0);
    this.#mean = mean;
    if (mean > budget) {
      this.#frequencyHz = Math.max(this.floorHz, Math.floor((this.#frequencyHz * budget) / mean));
    } else if (this.throttled && mean < budget * RELIEF) {
      const wanted = Math.min(MAX_RISE, (budget * RELIEF) / Math.max(mean, 1e-9)) * this.#frequencyHz;
      this.#frequencyHz = Math.min(frequencyHz, Math.max(this.#frequencyHz + 1, Math.floor(wanted)));
    }
    return this.#frequencyHz;
  }
}
