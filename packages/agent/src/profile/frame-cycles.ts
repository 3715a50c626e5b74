// SPDX-License-Identifier: Apache-2.0
/**
 * Deep recursion in few words: frames that repeat in a row are written once, followed by how often they are there. Pure, and
 * reversible: `unfoldCycles(foldCycles(x))` is x.
 */

/** The `length` frames before it are there `times` times in all, instead of once. */
export interface Repeat {
  readonly length: number;
  readonly times: number;
}

/** Longest cycle that is looked for: mutual recursion of so many functions. */
const MAX_CYCLE = 32;

/** @param frames in any order, equal numbers for equal frames */
export function foldCycles(frames: readonly number[]): (number | Repeat)[] {
  const folded: (number | Repeat)[] = [];
  for (let at = 0; at < frames.length; ) {
    let best: Repeat | undefined;
    for (let length = 1; length <= MAX_CYCLE && at + 2 * length <= frames.length; length++) {
      let equal = 0;
      while (at + length + equal < frames.length && frames[at + equal] === frames[at + length + equal]) equal++;
      const times = 1 + Math.floor(equal / length);
      // What is saved: the repeats, without the one place that says so.
      if (saved({ length, times }) > (best ? saved(best) : 0)) best = { length, times };
    }
    if (!best) {
      folded.push(frames[at++]);
      continue;
    }
    folded.push(...frames.slice(at, at + best.length), best);
    at += best.length * best.times;
  }
  return folded;
}

export function unfoldCycles(folded: readonly (number | Repeat)[]): number[] {
  const frames: number[] = [];
  for (const item of folded) {
    if (typeof item === 'number') frames.push(item);
    else {
      const cycle = frames.slice(frames.length - item.length);
      for (let i = 1; i < item.times; i++) frames.push(...cycle);
    }
  }
  return frames;
}

function saved({ length, times }: Repeat): number {
  return length * (times - 1) - 1;
}

/** Name of the synthetic frame that stands for a repeat. */
export function repeatName({ length, times }: Repeat): string {
  return `[repeated ${times} times: ${length} frame${length === 1 ? '' : 's'}]`;
}

/** What such a name says; undefined for other names. */
export function parseRepeatName(name: string): Repeat | undefined {
  const match = /^\[repeated ([1-9][0-9]*) times: ([1-9][0-9]*) frames?\]$/.exec(name);
  return match ? { times: Number(match[1]), length: Number(match[2]) } : undefined;
}
