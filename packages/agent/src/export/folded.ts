// SPDX-License-Identifier: Apache-2.0
import type { AttributeSetHandle } from '../profile/attribute-table.ts';
import { foldCycles, repeatName } from '../profile/frame-cycles.ts';
import { frameLabel } from '../profile/frame-label.ts';
import { type FrameHandle, NO_FRAME } from '../profile/frame-table.ts';
import type { Profile } from '../profile/profile.ts';
import type { SampleHandle } from '../profile/sample-table.ts';
import { EMPTY_STACK } from '../profile/stack-table.ts';

export interface FoldedOptions {
  /** Write frames that repeat in a row once, with their count; `unfoldFoldedText` reads it back. */
  foldRecursion?: boolean;
  /** A first frame for the stacks of a resource, such as the name of its process; undefined for none. */
  prefix?: (resource: AttributeSetHandle) => string | undefined;
}

/** A name as the format can hold it: what separates frames and lines is replaced. */
export function foldedName(name: string): string {
  return name.replaceAll(';', ':').replaceAll(/[\r\n\u2028\u2029]+/g, ' ');
}

/** Root first. Frames are equal where their names are, whatever line they stopped at: that folds more than addresses would. */
function foldNames(path: readonly string[]): string[] {
  const numbers = new Map<string, number>();
  const frames = path.map((name) => {
    const number = numbers.get(name) ?? numbers.size;
    numbers.set(name, number);
    return number;
  });
  const names = [...numbers.keys()];
  return foldCycles(frames).map((item) => (typeof item === 'number' ? names[item] : repeatName(item)));
}

/**
 * Folded stacks, the text format of Brendan Gregg's flame graph scripts: one line per distinct stack, root first, frames
 * joined by `;`, then a space and the sum of the values. Sorted, so that equal profiles give equal text.
 */
export function encodeFolded(profile: Profile, options: FoldedOptions = {}): string {
  const { stacks, frames, samples } = profile;
  const labels: (string | undefined)[] = [];
  const label = (frame: FrameHandle): string => {
    labels[frame] ??= foldedName(frameLabel(profile, frame));
    return labels[frame];
  };

  const totals = new Map<string, number>();
  const path: string[] = [];
  for (let sample = 0; sample < samples.count; sample++) {
    path.length = 0;
    for (let s = samples.stack(sample as SampleHandle); s !== EMPTY_STACK; s = stacks.parent(s)) {
      for (let frame = stacks.frame(s); frame !== NO_FRAME; frame = frames.inlinedInto(frame)) path.push(label(frame));
    }
    const prefix = options.prefix?.(samples.resource(sample as SampleHandle));
    if (prefix !== undefined) path.push(foldedName(prefix));
    if (path.length === 0) path.push('[no stack]');
    path.reverse();
    const line = (options.foldRecursion ? foldNames(path) : path).join(';');
    totals.set(line, (totals.get(line) ?? 0) + samples.value(sample as SampleHandle));
  }
  const lines = [...totals].map(([stack, value]) => `${stack} ${value}\n`);
  return lines.sort().join('');
}
