// SPDX-License-Identifier: Apache-2.0
/** The truncated ratio of one policy over the time that its objective names. Pure: the caller says what time it is. */

export type TruncationBucket = 'Unknown' | 'Ok' | 'Degraded';

/** What one interval saw of one policy. */
export interface IntervalCounts {
  /** User samples: complete, recovered or truncated. */
  samples: number;
  truncated: number;
  /** User frames of all these samples together. */
  frames: number;
  /** Truncated samples. */
  readonly byReason: Map<string, number>;
  readonly byWorkload: Map<string, number>;
  /** By reason, then by the file in which the walk stopped. */
  readonly byFile: Map<string, Map<string, number>>;
}

export interface TruncationFigures extends IntervalCounts {
  readonly ratio: number;
  readonly bucket: TruncationBucket;
  readonly topReason: string | undefined;
  readonly worstWorkload: string | undefined;
  /** Where most walks that were cut for the top reason stopped. */
  readonly topFile: string | undefined;
}

/** A window is kept in so many parts; it reaches back by one part more or less. */
const PARTS = 20;
/** Samples from which a ratio is believed, and below which one that was believed no longer is. */
const ENOUGH = 100;
const TOO_FEW = 50;
/** Share of the objective at which a node that was above it counts as well again. */
const RELIEF = 0.8;

export function emptyCounts(): IntervalCounts {
  return { samples: 0, truncated: 0, frames: 0, byReason: new Map(), byWorkload: new Map(), byFile: new Map() };
}

export function addCounts(into: IntervalCounts, more: IntervalCounts): void {
  into.samples += more.samples;
  into.truncated += more.truncated;
  into.frames += more.frames;
  for (const [key, count] of more.byReason) increment(into.byReason, key, count);
  for (const [key, count] of more.byWorkload) increment(into.byWorkload, key, count);
  for (const [reason, files] of more.byFile)
    for (const [file, count] of files) incrementFile(into, reason, file, count);
}

export function increment(map: Map<string, number>, key: string, count: number): void {
  map.set(key, (map.get(key) ?? 0) + count);
}

export function incrementFile({ byFile }: IntervalCounts, reason: string, file: string, count: number): void {
  let files = byFile.get(reason);
  if (!files) {
    files = new Map();
    byFile.set(reason, files);
  }
  increment(files, file, count);
}

export class TruncationWindow {
  readonly #partMs: number;
  readonly #objective: number;
  readonly #parts: { start: number; counts: IntervalCounts }[] = [];
  #bucket: TruncationBucket = 'Unknown';

  /** @param objective largest truncated ratio that keeps the promise. @param windowMs time over which it is taken. */
  constructor(objective: number, windowMs: number) {
    this.#objective = objective;
    this.#partMs = Math.max(1, windowMs / PARTS);
  }

  add(counts: IntervalCounts, nowMs: number): void {
    let part = this.#parts.at(-1);
    if (!part || nowMs - part.start >= this.#partMs) {
      part = { start: nowMs, counts: emptyCounts() };
      this.#parts.push(part);
    }
    addCounts(part.counts, counts);
    this.#forget(nowMs);
    this.#judge();
  }

  figures(nowMs: number): TruncationFigures {
    this.#forget(nowMs);
    const total = this.#total();
    const topReason = largest(total.byReason);
    return {
      ...total,
      ratio: ratioOf(total),
      bucket: this.#judge(),
      topReason,
      topFile: topReason === undefined ? undefined : largest(total.byFile.get(topReason) ?? new Map()),
      worstWorkload: largest(total.byWorkload),
    };
  }

  #forget(nowMs: number): void {
    const begin = nowMs - this.#partMs * PARTS;
    while (this.#parts.length > 0 && this.#parts[0].start < begin) this.#parts.shift();
  }

  #total(): IntervalCounts {
    const total = emptyCounts();
    for (const { counts } of this.#parts) addCounts(total, counts);
    return total;
  }

  /** With hysteresis in both directions, so that a node at its objective does not flap. */
  #judge(): TruncationBucket {
    const total = this.#total();
    const known = this.#bucket !== 'Unknown';
    if (total.samples < (known ? TOO_FEW : ENOUGH)) this.#bucket = 'Unknown';
    else {
      const limit = this.#bucket === 'Degraded' ? this.#objective * RELIEF : this.#objective;
      this.#bucket = ratioOf(total) > limit ? 'Degraded' : 'Ok';
    }
    return this.#bucket;
  }
}

export function ratioOf({ samples, truncated }: IntervalCounts): number {
  return samples === 0 ? 0 : truncated / samples;
}

/** The key with the highest count; of equal ones the first by name, so that nothing depends on order. */
export function largest(counts: ReadonlyMap<string, number>): string | undefined {
  return [...counts].filter(([, count]) => count > 0).sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1))[0]?.[0];
}
