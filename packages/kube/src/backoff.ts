// SPDX-License-Identifier: Apache-2.0

export interface BackoffOptions {
  /** First delay in milliseconds. */
  initial: number;
  /** Longest delay in milliseconds, before jitter. */
  max: number;
  /** Share of the delay that is random: 1 doubles it at most. */
  jitter?: number;
  /** Uniform in [0, 1). */
  random?: () => number;
}

/** Delays that double up to a maximum, spread at random so that clients that failed together do not return together. */
export class Backoff {
  readonly #options: Required<BackoffOptions>;
  #failures = 0;

  constructor(options: BackoffOptions) {
    this.#options = { jitter: 1, random: Math.random, ...options };
  }

  /** The next delay in milliseconds. */
  next(): number {
    const { initial, max, jitter, random } = this.#options;
    const delay = Math.min(max, initial * 2 ** Math.min(this.#failures, 40));
    this.#failures += 1;
    return delay * (1 + jitter * random());
  }

  reset(): void {
    this.#failures = 0;
  }
}
