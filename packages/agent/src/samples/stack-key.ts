// SPDX-License-Identifier: Apache-2.0
import type { Stack } from './decode.ts';

/** A key like those that the kernel side gives (`Stack.key`), for a stack that was made here: 53 bits of image, reason and frames. */
export function stackKey(stack: Omit<Stack, 'key'>): number {
  let a = 0x9e3779b1 ^ stack.tgid;
  let b = 0x85ebca6b ^ stack.generation;
  const mix = (low: number, high: number) => {
    a = Math.imul(a ^ low, 0xcc9e2d51);
    a = (a ^ (a >>> 15)) + high;
    b = Math.imul(b ^ high ^ a, 0x1b873593);
    b ^= (b >>> 13) + low;
  };
  mix(stack.reason, stack.policy);
  mix(stack.elided, stack.elidedAt);
  for (const address of stack.kernel) mix(Number(address & 0xffffffffn), Number(address >> 32n));
  for (let i = 0; i < stack.user.length; i++)
    mix(stack.user[i] >>> 0, stack.user[i] / 2 ** 32 + stack.userFlags[i] * 2 ** 26);
  return (b & 0x1f_ffff) * 2 ** 32 + (a >>> 0);
}
