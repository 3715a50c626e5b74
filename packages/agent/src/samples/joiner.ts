// SPDX-License-Identifier: Apache-2.0
/**
 * Strategy deferred: the kernel part of a sample comes when it fires, the user part when its task goes back to user space. All
 * samples that a task has in between share the user part. Here they wait for it.
 */
import type { SampleHead, Stack } from './decode.ts';

/** Samples of one kernel stack that wait for the same walk. */
export interface KernelPart {
  readonly head: SampleHead;
  /** Without user frames; undefined: its frames are not known any more. */
  readonly stack: Stack | undefined;
  count: number;
}

interface Waiting {
  readonly walk: number;
  /** By key of the stack. */
  readonly parts: Map<number, KernelPart>;
}

/** Twice what the kernel side can have asked for at once; some of it may have been lost with a full ring. */
const MAX_WAITING = 1 << 15;

export class Joiner {
  /** By tid: a task has one walk at a time. */
  readonly #waiting = new Map<number, Waiting>();

  /** Tasks that are waited for. */
  get size(): number {
    return this.#waiting.size;
  }

  addKernelPart(head: SampleHead, stack: Stack | undefined): void {
    let waiting = this.#waiting.get(head.tid);
    if (waiting?.walk !== head.walk) {
      waiting = { walk: head.walk, parts: new Map() };
      this.#waiting.delete(head.tid); // to the end of the order
      this.#waiting.set(head.tid, waiting);
      if (this.#waiting.size > MAX_WAITING) this.#waiting.delete(this.#waiting.keys().next().value as number);
    }
    const part = waiting.parts.get(head.key);
    if (part) part.count++;
    else waiting.parts.set(head.key, { head, stack, count: 1 });
  }

  /** The kernel parts that a user part completes; they wait no longer. */
  take({ tid, walk }: Pick<SampleHead, 'tid' | 'walk'>): KernelPart[] {
    const waiting = this.#waiting.get(tid);
    if (waiting?.walk !== walk) return [];
    this.#waiting.delete(tid);
    return [...waiting.parts.values()];
  }

  /** All that is left when no more user parts will come, by walk. */
  takeAll(): KernelPart[][] {
    const walks = this.waiting();
    this.#waiting.clear();
    return walks;
  }

  /** What waits, by walk. */
  waiting(): KernelPart[][] {
    return [...this.#waiting.values()].map(({ parts }) => [...parts.values()]);
  }
}

/** The whole stack of a sample. */
export function joinParts(kernel: Stack, user: Stack): Stack {
  const { inKernel, kernelClipped } = kernel;
  return { ...user, key: mixKeys(kernel.key, user.key), inKernel, kernelClipped, kernel: kernel.kernel };
}

/** A key of 53 bits from two. */
function mixKeys(a: number, b: number): number {
  const low = Math.imul((a >>> 0) ^ 0x9e3779b1, 0x85ebca6b) ^ (b >>> 0);
  const high = Math.imul(Math.floor(a / 2 ** 32) ^ low, 0xcc9e2d51) ^ Math.floor(b / 2 ** 32);
  return ((high ^ (high >>> 15)) & 0x1f_ffff) * 2 ** 32 + ((low ^ Math.imul(high, 0x1b873593)) >>> 0);
}
