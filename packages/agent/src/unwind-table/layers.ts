// SPDX-License-Identifier: Apache-2.0
import type { CfaProgram, RuleSink } from './cfa-program.ts';
import type { AddressRange, FrameSection } from './cfi.ts';

/**
 * A source of unwind rules that knows some of the text. `cover` walks [from, to) in order of address: what it knows goes
 * to the sink, each stretch that it does not know to `gap`.
 */
export interface Layer {
  cover(from: number, to: number, sink: RuleSink, gap: (from: number, to: number) => void): void;
  /** The same, without the rules. */
  gaps(from: number, to: number, gap: (from: number, to: number) => void): void;
}

/** Covers [from, to) with the first layer, what that leaves with the second, and so on; the rest goes to `rest`. */
export function coverWithLayers(
  layers: readonly Pick<Layer, 'cover'>[],
  from: number,
  to: number,
  sink: RuleSink,
  rest: (from: number, to: number) => void,
  level = 0,
): void {
  if (level === layers.length) rest(from, to);
  else layers[level].cover(from, to, sink, (a, b) => coverWithLayers(layers, a, b, sink, rest, level + 1));
}

/** Passes on the part of each rule that lies in a window of addresses. */
class ClippedSink implements RuleSink {
  from = 0;
  to = 0;
  target!: RuleSink;

  add(start: number, end: number, rule: number): void {
    const a = Math.max(start, this.from);
    const b = Math.min(end, this.to);
    if (a < b) this.target.add(a, b, rule);
  }
}

/**
 * Index of the first of the sorted `starts` that lies beyond `address`.
 */
export function firstAfter(starts: Float64Array, address: number): number {
  let low = 0;
  let high = starts.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (starts[middle] <= address) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The stretches of [from, to) that no layer knows and that are no padding. */
export function gapsOfLayers(
  layers: readonly Pick<Layer, 'gaps'>[],
  from: number,
  to: number,
  isPadding: (from: number, to: number) => boolean,
): AddressRange[] {
  const gaps: AddressRange[] = [];
  const find = (level: number, a: number, b: number) => {
    if (isPadding(a, b)) return;
    if (level === layers.length) gaps.push({ start: a, end: b });
    else layers[level].gaps(a, b, (c, d) => find(level + 1, c, d));
  };
  find(0, from, to);
  return gaps;
}

/** The functions of a call frame section. Where FDEs overlap, the one that begins last wins, as in libgcc. */
export class FrameLayer implements Layer {
  readonly section: FrameSection;
  readonly #program: CfaProgram;
  readonly #clipped = new ClippedSink();

  constructor(section: FrameSection, program: CfaProgram) {
    this.section = section;
    this.#program = program;
  }

  cover(from: number, to: number, sink: RuleSink, gap: (from: number, to: number) => void): void {
    this.#walk(from, to, sink, gap);
  }

  gaps(from: number, to: number, gap: (from: number, to: number) => void): void {
    this.#walk(from, to, undefined, gap);
  }

  #walk(from: number, to: number, sink: RuleSink | undefined, gap: (from: number, to: number) => void): void {
    const { section } = this;
    const { starts } = section;
    let at = from;
    for (let i = Math.max(0, firstAfter(starts, from) - 1); i < starts.length && starts[i] < to; i++) {
      if (starts[i + 1] === starts[i]) continue;
      if (starts[i] > at) {
        gap(at, starts[i]);
        at = starts[i];
      }
      if (!section.select(i)) continue;
      const end = Math.min(section.end, to, starts[i + 1] ?? to);
      if (end <= at) continue;
      if (sink !== undefined) {
        this.#clipped.from = at;
        this.#clipped.to = end;
        this.#clipped.target = sink;
        this.#program.run(section, this.#clipped);
      }
      at = end;
    }
    if (at < to) gap(at, to);
  }
}
