// SPDX-License-Identifier: Apache-2.0
import type { Clock } from './clock.ts';

/** Limits a rate: `burst` requests at once, `qps` a second after that, first come first served. */
export class TokenBucket {
  readonly #clock: Clock;
  readonly #msPerToken: number;
  readonly #burst: number;
  /** When the bucket will be full again, on the clock. Every token taken moves it. */
  #fullAt: number;

  constructor(qps: number, burst: number, clock: Clock) {
    if (!(qps > 0) || !(burst >= 1))
      throw new RangeError(`a rate limit needs qps > 0 and burst >= 1, not ${qps}, ${burst}`);
    this.#clock = clock;
    this.#msPerToken = 1000 / qps;
    this.#burst = burst;
    this.#fullAt = clock.now();
  }

  /** Waits for a token. Rejects when aborted; the token is used up then. */
  async take(signal?: AbortSignal): Promise<void> {
    const now = this.#clock.now();
    this.#fullAt = Math.max(this.#fullAt, now) + this.#msPerToken;
    const wait = this.#fullAt - this.#burst * this.#msPerToken - now;
    if (wait > 0) await this.#clock.sleep(wait, signal);
  }
}
