// SPDX-License-Identifier: Apache-2.0
/** Time as something that is handed in, so that tests decide what time it is. */

export interface Clock {
  /** Milliseconds since 1970. */
  wallMs(): number;
  /** CLOCK_MONOTONIC in nanoseconds: the clock of every BPF timestamp (`bpf_ktime_get_ns`). */
  monotonicNs(): bigint;
  /** Resolves after so many milliseconds, or at once when `signal` aborts. Never rejects. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
  /** Calls `action` every so many milliseconds until the returned function is called. Does not keep the process alive. */
  every(ms: number, action: () => void): () => void;
}

export const systemClock: Clock = {
  wallMs: () => Date.now(),
  monotonicNs: () => process.hrtime.bigint(),
  sleep: (ms, signal) =>
    new Promise((resolve) => {
      if (signal?.aborted) return resolve();
      const finish = () => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', finish);
        resolve();
      };
      const timer = setTimeout(finish, ms);
      signal?.addEventListener('abort', finish, { once: true });
    }),
  every: (ms, action) => {
    const timer = setInterval(action, ms);
    timer.unref();
    return () => clearInterval(timer);
  },
};

/** The wall time (ns since 1970) of a CLOCK_MONOTONIC time in nanoseconds, by the distance between the two clocks now. */
export function wallNsOf(monotonicNs: bigint, clock: Clock = systemClock): bigint {
  return BigInt(Math.round(clock.wallMs() * 1e6)) - (clock.monotonicNs() - monotonicNs);
}

/** A clock that moves only when told to. Timers run in order of their time, inside `advance`. */
export class ManualClock implements Clock {
  #ms: number;
  #timers: { at: number; period: number; run: () => void }[] = [];

  constructor(startMs = 0) {
    this.#ms = startMs;
  }

  wallMs(): number {
    return this.#ms;
  }

  monotonicNs(): bigint {
    return BigInt(Math.round(this.#ms * 1e6));
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    if (signal?.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = { at: this.#ms + ms, period: 0, run: resolve };
      this.#timers.push(timer);
      signal?.addEventListener(
        'abort',
        () => {
          this.#remove(timer);
          resolve();
        },
        { once: true },
      );
    });
  }

  every(ms: number, action: () => void): () => void {
    const timer = { at: this.#ms + ms, period: ms, run: action };
    this.#timers.push(timer);
    return () => this.#remove(timer);
  }

  /** Moves time on and runs what falls due, then lets promises settle. */
  async advance(ms: number): Promise<void> {
    const end = this.#ms + ms;
    for (;;) {
      const next = this.#timers.filter((t) => t.at <= end).sort((a, b) => a.at - b.at)[0];
      if (next === undefined) break;
      this.#ms = Math.max(this.#ms, next.at);
      if (next.period > 0) next.at += next.period;
      else this.#remove(next);
      next.run();
      await new Promise((resolve) => setImmediate(resolve));
    }
    this.#ms = end;
    await new Promise((resolve) => setImmediate(resolve));
  }

  #remove(timer: { at: number }): void {
    this.#timers = this.#timers.filter((t) => t !== timer);
  }
}
