// SPDX-License-Identifier: Apache-2.0
/**
 * Profiles with recursion folded: where frames repeat in a row, they are there once, and the frame that they call is a synthetic
 * one, `[repeated 511 times: 2 frames]`. Encoders write such a profile like any other.
 */
import { foldCycles, parseRepeatName, type Repeat, repeatName, unfoldCycles } from '../profile/frame-cycles.ts';
import type { FrameHandle } from '../profile/frame-table.ts';
import type { Profile } from '../profile/profile.ts';
import type { StackHandle } from '../profile/stack-table.ts';

/** The same samples, on folded stacks. The tables are shared with `profile`. */
export function foldRecursion(profile: Profile): Profile {
  return mapStacks(profile, (frames) =>
    foldCycles(frames).map((item) =>
      typeof item === 'number' ? (item as FrameHandle) : profile.internSyntheticFrame(repeatName(item)),
    ),
  );
}

/** What {@link foldRecursion} was given. */
export function unfoldRecursion(profile: Profile): Profile {
  return mapStacks(profile, (frames) =>
    unfoldCycles(frames.map((frame) => repeatOf(profile, frame) ?? frame)).map((frame) => frame as FrameHandle),
  );
}

function repeatOf({ frames, functions, strings }: Profile, frame: FrameHandle): Repeat | undefined {
  if (frames.kind(frame) !== 'synthetic') return undefined;
  return parseRepeatName(strings.get(functions.name(frames.function(frame))));
}

/** @param map a stack to another, both root first */
function mapStacks(profile: Profile, map: (frames: FrameHandle[]) => FrameHandle[]): Profile {
  const { stacks } = profile;
  const known = new Map<StackHandle, StackHandle>();
  return profile.withStacks((stack) => {
    let mapped = known.get(stack);
    if (mapped === undefined) {
      mapped = stacks.internLeafFirst(map(stacks.leafFirst(stack).reverse()).reverse());
      known.set(stack, mapped);
    }
    return mapped;
  });
}

/** Lines of folded stacks as {@link encodeFolded} writes them with `foldRecursion`, as it writes them without. */
export function unfoldFoldedText(text: string): string {
  const lines = text.split('\n').filter((line) => line !== '');
  return lines
    .map((line) => {
      const space = line.lastIndexOf(' ');
      const names = line.slice(0, space).split(';');
      const numbers = names.map((name, i) => parseRepeatName(name) ?? i);
      const unfolded = unfoldCycles(numbers).map((i) => names[i]);
      return `${unfolded.join(';')}${line.slice(space)}\n`;
    })
    .sort()
    .join('');
}
