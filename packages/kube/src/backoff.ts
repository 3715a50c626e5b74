// SPDX-License-Identifier: Apache-2.0

export interface BackoffOptions {
  /** First delay in milliseconds. */
  initial: number;
  /** Longest delay in milliseconds, before jitter, which doubles it at most. */
  max: number;
  /** Uniform in [0, 1). */
  random?: () => number;
}

/** Delays that double up to a maximum, spread at random so that clients that failed together do not return together. */
export class Backoff {
  readonly #options: Required<BackoffOptions>;
  #failures = 0;

  constructor(options: BackoffOptions) {
    this.#options = { random: Math.random, ...options };
  }

  /** The next delay in milliseconds. */
  next(): number {
    const { initial, max, random } = this.#options;
    const delay = Math.min(max, initial * 2 ** Math.min(this.#failures, 40));
    this.#failures += 1;
    return delay * (1 + random());
  }

  reset(): void {
    this.#failures = 0;
  }
}
