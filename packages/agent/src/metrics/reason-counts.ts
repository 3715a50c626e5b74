// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../clock.ts';

type Labels<L> = { readonly [K in keyof L]: string };

export interface ReasonCountsOptions<L extends Labels<L>> {
  readonly clock: Clock;
  /** Most series that are shown, whatever is counted. */
  readonly maxSeries: number;
  /** Labels under which is counted what has no series of its own. */
  readonly other: L;
}

interface Subject<L> {
  readonly labels: L;
  usedAtMs: number;
  /** By outcome and reason. */
  readonly counts: Map<string, { outcome: string; reason: string; count: number }>;
}

/** Reasons of one subject that are told apart; more are counted as `other`, under their outcome, so that ratios hold. */
const OWN_REASONS = 8;
/** complete, recovered, truncated, kernel_only: those of samples that reach the agent. */
const OUTCOMES = 4;
export const SERIES_PER_SUBJECT = OWN_REASONS + OUTCOMES;
const IDLE_MS = 15 * 60_000;
/** Names without series that are told apart, only to say how many there are. */
const MAX_REMEMBERED = 20_000;

export const OTHER = 'other';

/**
 * Samples of subjects (workloads, policies, runtimes) by outcome and reason, with a bound on the number of series. Beyond
 * it, subjects that are new are counted as one, `other`, until one that has had no samples for a quarter of an hour makes
 * room. Its series then end.
 */
export class ReasonCounts<L extends Labels<L>> {
  readonly #clock: Clock;
  readonly #capacity: number;
  /** Least recently used first. */
  readonly #subjects = new Map<string, Subject<L>>();
  readonly #other: Subject<L>;
  /** When a subject that is counted as `other` had its last sample; least recently used first. */
  readonly #counted = new Map<string, number>();

  constructor({ clock, maxSeries, other }: ReasonCountsOptions<L>) {
    this.#clock = clock;
    this.#capacity = Math.max(1, Math.floor(maxSeries / SERIES_PER_SUBJECT) - 1);
    this.#other = { labels: other, usedAtMs: 0, counts: new Map() };
  }

  add(labels: L, outcome: string, reason: string, count: number): void {
    const { counts } = this.#subject(labels);
    let name = reason;
    let entry = counts.get(`${outcome}\0${name}`);
    if (entry === undefined && counts.size >= OWN_REASONS) {
      name = OTHER;
      entry = counts.get(`${outcome}\0${name}`);
    }
    if (entry === undefined) counts.set(`${outcome}\0${name}`, { outcome, reason: name, count });
    else entry.count += count;
  }

  *read(): Generator<{ labels: L & { outcome: string; reason: string }; value: number }> {
    for (const { labels, counts } of [...this.#subjects.values(), this.#other])
      for (const { outcome, reason, count } of counts.values())
        yield { labels: { ...labels, outcome, reason }, value: count };
  }

  /** Subjects with series of their own. */
  get own(): number {
    return this.#subjects.size;
  }

  /** Subjects of the last quarter of an hour that are counted as `other`. */
  get others(): number {
    const since = this.#clock.wallMs() - IDLE_MS;
    for (const [key, usedAtMs] of this.#counted) {
      if (usedAtMs >= since) break;
      this.#counted.delete(key);
    }
    return this.#counted.size;
  }

  #subject(labels: L): Subject<L> {
    const now = this.#clock.wallMs();
    const key = Object.values<string>(labels).join('\0');
    let subject = this.#subjects.get(key);
    if (subject === undefined) {
      if (!this.#makeRoom(now)) {
        this.#countOther(key, now);
        return this.#other;
      }
      this.#counted.delete(key);
      subject = { labels, usedAtMs: now, counts: new Map() };
    } else {
      this.#subjects.delete(key);
      subject.usedAtMs = now;
    }
    this.#subjects.set(key, subject);
    return subject;
  }

  #countOther(key: string, now: number): void {
    this.#counted.delete(key);
    if (this.#counted.size >= MAX_REMEMBERED) this.#counted.delete(this.#counted.keys().next().value as string);
    this.#counted.set(key, now);
  }

  #makeRoom(now: number): boolean {
    if (this.#subjects.size < this.#capacity) return true;
    const [key, oldest] = this.#subjects.entries().next().value as [string, Subject<L>];
    if (now - oldest.usedAtMs < IDLE_MS) return false;
    this.#subjects.delete(key);
    return true;
  }
}
