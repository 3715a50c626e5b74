// SPDX-License-Identifier: Apache-2.0
/**
 * What is usual for each workload under each policy: truncated ratio and depth over days, so that a regression after a
 * deployment stands out. Sums of samples whose weight halves every two days; old samples fade, idle times do not count.
 * Pure: the caller says what time it is, in ms since 1970, because what is remembered outlives the agent.
 */

/** What some time saw of one workload. */
export interface BaselineCounts {
  /** User samples: complete, recovered or truncated. */
  readonly samples: number;
  readonly truncated: number;
  /** User frames of all these samples together. */
  readonly frames: number;
}

/** A workload as it is usually. */
export interface Baseline {
  /** Truncated share, from 0 to 1. */
  readonly truncatedRatio: number;
  /** User frames of a sample, on average. */
  readonly depth: number;
}

/** As it is kept on disk. Counts are weighted. */
export interface BaselineEntry extends BaselineCounts {
  readonly policy: string;
  /** As {@link workloadName} says. */
  readonly workload: string;
  /** When it was first seen, and when the weights were last brought up to date: ms since 1970. */
  readonly sinceMs: number;
  readonly atMs: number;
}

export interface BaselinesOptions {
  /** Workloads that are remembered; beyond it the one without samples for longest goes. */
  readonly capacity?: number;
}

const HALF_LIFE_MS = 2 * 24 * 3_600_000;
/** Weighted samples and time from which something is called usual. */
const ENOUGH_SAMPLES = 500;
const ENOUGH_MS = 3_600_000;

export class Baselines {
  readonly #capacity: number;
  /** By policy and workload, the one without samples for longest first. */
  #entries = new Map<string, BaselineEntry>();
  /** Workloads that had to go for want of room. */
  forgotten = 0;

  constructor({ capacity = 2_000 }: BaselinesOptions = {}) {
    this.#capacity = capacity;
  }

  get size(): number {
    return this.#entries.size;
  }

  add(policy: string, workload: string, counts: BaselineCounts, nowMs: number): void {
    const key = keyOf(policy, workload);
    const before = this.#entries.get(key);
    const old = before ? fade(before, nowMs) : { samples: 0, truncated: 0, frames: 0 };
    this.#entries.delete(key);
    this.#entries.set(key, {
      policy,
      workload,
      sinceMs: before?.sinceMs ?? nowMs,
      atMs: nowMs,
      samples: old.samples + counts.samples,
      truncated: old.truncated + counts.truncated,
      frames: old.frames + counts.frames,
    });
    while (this.#entries.size > this.#capacity) {
      this.#entries.delete(this.#entries.keys().next().value as string);
      this.forgotten++;
    }
  }

  /** Undefined while too little is known. */
  of(policy: string, workload: string, nowMs: number): Baseline | undefined {
    const entry = this.#entries.get(keyOf(policy, workload));
    return entry && usual([entry], nowMs);
  }

  /** Over all workloads of some policies. */
  ofPolicies(policies: ReadonlySet<string>, nowMs: number): Baseline | undefined {
    return usual(
      [...this.#entries.values()].filter(({ policy }) => policies.has(policy)),
      nowMs,
    );
  }

  /** The workloads that had samples last, most recent first, of which enough is known. */
  *recent(limit: number, nowMs: number): Generator<Baseline & Pick<BaselineEntry, 'policy' | 'workload'>> {
    let shown = 0;
    for (const entry of [...this.#entries.values()].reverse()) {
      const baseline = usual([entry], nowMs);
      if (!baseline) continue;
      if (++shown > limit) return;
      yield { policy: entry.policy, workload: entry.workload, ...baseline };
    }
  }

  entries(): BaselineEntry[] {
    return [...this.#entries.values()];
  }

  /** Takes up what was kept. */
  restore(entries: readonly BaselineEntry[]): void {
    const newest = [...entries].sort((a, b) => a.atMs - b.atMs).slice(-this.#capacity);
    this.#entries = new Map(newest.map((entry) => [keyOf(entry.policy, entry.workload), entry]));
  }
}

function keyOf(policy: string, workload: string): string {
  return `${policy}\0${workload}`;
}

/** The counts with the weight that they have now. A clock that was set back makes nothing heavier. */
function fade({ samples, truncated, frames, atMs }: BaselineEntry, nowMs: number): BaselineCounts {
  const weight = 0.5 ** (Math.max(0, nowMs - atMs) / HALF_LIFE_MS);
  return { samples: samples * weight, truncated: truncated * weight, frames: frames * weight };
}

function usual(entries: readonly BaselineEntry[], nowMs: number): Baseline | undefined {
  let samples = 0;
  let truncated = 0;
  let frames = 0;
  let since = Number.POSITIVE_INFINITY;
  for (const entry of entries) {
    const now = fade(entry, nowMs);
    samples += now.samples;
    truncated += now.truncated;
    frames += now.frames;
    since = Math.min(since, entry.sinceMs);
  }
  if (samples < ENOUGH_SAMPLES || nowMs - since < ENOUGH_MS) return undefined;
  return { truncatedRatio: truncated / samples, depth: frames / samples };
}
