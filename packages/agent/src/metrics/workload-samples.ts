// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../clock.ts';
import type { Reading } from './registry.ts';

interface Workload {
  usedAtMs: number;
  /** By outcome and reason. */
  readonly counts: Map<string, { outcome: string; reason: string; count: number }>;
}

export const OTHER_WORKLOAD = 'other';
const IDLE_MS = 15 * 60_000;

/**
 * Samples by workload, with a bound on the number of series: beyond it, workloads that are new are counted as `other`
 * until one that has had no samples for a quarter of an hour makes room. Its series then ends.
 */
export class WorkloadSamples {
  readonly #capacity: number;
  readonly #clock: Clock;
  /** Least recently used first. */
  readonly #workloads = new Map<string, Workload>();
  readonly #other: Workload = { usedAtMs: 0, counts: new Map() };

  constructor(clock: Clock, capacity = 100) {
    this.#clock = clock;
    this.#capacity = capacity;
  }

  add(name: string, outcome: string, reason: string, count: number): void {
    const { counts } = this.#workload(name);
    const key = `${outcome}\0${reason}`;
    const entry = counts.get(key);
    if (entry === undefined) counts.set(key, { outcome, reason, count });
    else entry.count += count;
  }

  *read(): Generator<Reading<'workloadSamples'>> {
    for (const [workload, { counts }] of [...this.#workloads, [OTHER_WORKLOAD, this.#other] as const]) {
      for (const { outcome, reason, count } of counts.values())
        yield { labels: { workload, outcome, reason }, value: count };
    }
  }

  #workload(name: string): Workload {
    const now = this.#clock.wallMs();
    let workload = this.#workloads.get(name);
    if (workload === undefined) {
      if (name === OTHER_WORKLOAD || !this.#makeRoom(now)) return this.#other;
      workload = { usedAtMs: now, counts: new Map() };
    } else {
      this.#workloads.delete(name);
      workload.usedAtMs = now;
    }
    this.#workloads.set(name, workload);
    return workload;
  }

  #makeRoom(now: number): boolean {
    if (this.#workloads.size < this.#capacity) return true;
    const [name, oldest] = this.#workloads.entries().next().value as [string, Workload];
    if (now - oldest.usedAtMs < IDLE_MS) return false;
    this.#workloads.delete(name);
    return true;
  }
}
