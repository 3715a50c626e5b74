// SPDX-License-Identifier: Apache-2.0
/**
 * Names to work on, each at most once in the queue and never by two workers at a time (client-go's workqueue).
 */
import { type Clock, systemClock } from './clock.ts';
import { type KubeMetrics, noMetrics } from './metrics.ts';

export interface WorkQueueOptions {
  /** For metrics. */
  name: string;
  /** Delay after the first failure of a key, in milliseconds; doubles with each further one. */
  initialDelayMs?: number;
  maxDelayMs?: number;
  metrics?: KubeMetrics;
  clock?: Clock;
}

export class WorkQueue {
  readonly #options: Required<WorkQueueOptions>;
  /** Waiting, in order; the value is when the key was added. */
  readonly #waiting = new Map<string, number>();
  /** Taken, not done; the value is when the key was taken. */
  readonly #processing = new Map<string, number>();
  /** Added again while being processed. */
  readonly #dirty = new Set<string>();
  readonly #failures = new Map<string, number>();
  /** Keys that come later: when, and how to call it off. */
  readonly #delayed = new Map<string, { at: number; cancel: AbortController }>();
  readonly #takers: ((key: string | undefined) => void)[] = [];
  #closed = false;

  constructor(options: WorkQueueOptions) {
    this.#options = { initialDelayMs: 5, maxDelayMs: 1_000_000, metrics: noMetrics, clock: systemClock, ...options };
  }

  get depth(): number {
    return this.#waiting.size;
  }

  add(key: string): void {
    if (this.#closed || this.#waiting.has(key) || this.#dirty.has(key)) return;
    if (this.#processing.has(key)) {
      this.#dirty.add(key);
      return;
    }
    const { name, clock, metrics } = this.#options;
    this.#waiting.set(key, clock.now());
    metrics.queueDepth({ name, depth: this.#waiting.size, added: true });
    this.#hand();
  }

  /** Adds the key after a delay. Of several delays for one key the soonest counts. */
  addAfter(key: string, ms: number): void {
    if (this.#closed) return;
    if (ms <= 0) {
      this.add(key);
      return;
    }
    const { clock } = this.#options;
    const at = clock.now() + ms;
    const pending = this.#delayed.get(key);
    if (pending && pending.at <= at) return;
    pending?.cancel.abort();
    const cancel = new AbortController();
    this.#delayed.set(key, { at, cancel });
    clock.sleep(ms, cancel.signal).then(
      () => {
        this.#delayed.delete(key);
        this.add(key);
      },
      () => {}, // called off
    );
  }

  /** Adds the key after a delay that doubles with every failure since {@link forget}. */
  addRateLimited(key: string): void {
    const { name, metrics, initialDelayMs, maxDelayMs } = this.#options;
    const failures = this.#failures.get(key) ?? 0;
    this.#failures.set(key, failures + 1);
    metrics.queueRetried({ name });
    this.addAfter(key, Math.min(maxDelayMs, initialDelayMs * 2 ** Math.min(failures, 40)));
  }

  /** The key succeeded: its next failure is its first. */
  forget(key: string): void {
    this.#failures.delete(key);
  }

  /** Waits for a key; undefined when the queue was closed. Call {@link done} afterwards. */
  take(): Promise<string | undefined> {
    return new Promise((resolve) => {
      this.#takers.push(resolve);
      this.#hand();
    });
  }

  /** The key may be taken again, and is added if somebody asked for it meanwhile. */
  done(key: string): void {
    const { name, clock, metrics } = this.#options;
    const taken = this.#processing.get(key);
    if (taken === undefined) return;
    this.#processing.delete(key);
    metrics.queueWorked({ name, seconds: (clock.now() - taken) / 1000 });
    if (this.#dirty.delete(key)) this.add(key);
  }

  /** Every {@link take} resolves with undefined from now on. */
  close(): void {
    this.#closed = true;
    for (const { cancel } of this.#delayed.values()) cancel.abort();
    this.#delayed.clear();
    this.#waiting.clear();
    this.#dirty.clear();
    this.#hand();
  }

  #hand(): void {
    const { name, clock, metrics } = this.#options;
    while (this.#takers.length > 0) {
      const first = this.#waiting.entries().next().value;
      if (first === undefined && !this.#closed) return;
      const taker = this.#takers.shift()!;
      if (first === undefined) {
        taker(undefined);
        continue;
      }
      const [key, addedAt] = first;
      this.#waiting.delete(key);
      this.#processing.set(key, clock.now());
      metrics.queueDepth({ name, depth: this.#waiting.size, added: false });
      metrics.queueWaited({ name, seconds: (clock.now() - addedAt) / 1000 });
      taker(key);
    }
  }
}
