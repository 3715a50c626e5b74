// SPDX-License-Identifier: Apache-2.0
/** Compares a complete walk of the kernel side with one that the agent made of the same stack, frame by frame. */
import type { Stack } from '../samples/decode.ts';
import { isRoot } from './cfi-unwinder.ts';
import type { WalkReply } from './walk-request.ts';

/**
 * - `equal`: every frame, to the root
 * - `partial`: equal as far as the agent could walk, for its copy of the stack ended
 * - `undecided`: equal as far as the agent could walk, for want of knowledge
 * - `mismatch`: they differ
 */
export type Verdict = 'equal' | 'partial' | 'undecided' | 'mismatch';

/** What the kernel side and the agent found, for the one who looks into a mismatch. */
export interface Mismatch {
  readonly stack: Stack;
  /** Addresses of the agent's walk, leaf first, their flags (as `Stack.userFlags`), and how it ended. */
  readonly addresses: Float64Array;
  readonly flags: Uint8Array;
  readonly end: string;
  /** Index of the first frame that differs. */
  readonly at: number;
}

export function compareWalks(stack: Stack, { addresses, end }: WalkReply): { verdict: Verdict; at: number } {
  const { user } = stack;
  const common = Math.min(user.length, addresses.length);
  for (let at = 0; at < common; at++) if (user[at] !== addresses[at]) return { verdict: 'mismatch', at };
  const isWhole = isRoot(end);
  if (isWhole && user.length === addresses.length) return { verdict: 'equal', at: common };
  // One goes on where the other has reached a root.
  if (isWhole || addresses.length > user.length) return { verdict: 'mismatch', at: common };
  return { verdict: end === 'stack_end' ? 'partial' : 'undecided', at: common };
}
