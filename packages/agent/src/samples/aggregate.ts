// SPDX-License-Identifier: Apache-2.0
/** Counts samples by stack and thread. */
import type { SampleHead, Stack } from './decode.ts';

export interface ThreadCount {
  readonly comm: string;
  count: number;
}

export interface StackCount {
  readonly stack: Stack;
  /** By tid. */
  readonly threads: Map<number, ThreadCount>;
  count: number;
}

/**
 * A stack's frames come over the ring once per epoch; later samples only name it. Frames are kept for the epoch in which
 * they came and the one after it, so that a sample that was on its way when the epoch changed still finds them.
 */
export class Aggregator {
  #stacks = new Map<number, Stack>();
  #previous = new Map<number, Stack>();
  #counts = new Map<number, StackCount>();
  samples = 0;
  deepest = 0;

  /** Stacks that came in this epoch. */
  get stacks(): number {
    return this.#stacks.size;
  }

  /** The stack of a sample: the one that came with it, else the one of the same key that came before. */
  resolve(head: SampleHead, body: Stack | undefined): Stack | undefined {
    if (!body) return this.#stacks.get(head.key) ?? this.#previous.get(head.key);
    this.#stacks.set(head.key, body);
    return body;
  }

  count(head: Pick<SampleHead, 'tid' | 'comm'>, stack: Stack, count = 1): void {
    this.deepest = Math.max(this.deepest, stack.user.length + stack.elided);
    this.samples += count;
    let entry = this.#counts.get(stack.key);
    if (!entry) {
      entry = { stack, threads: new Map(), count: 0 };
      this.#counts.set(stack.key, entry);
    }
    entry.count += count;
    const thread = entry.threads.get(head.tid);
    if (thread) thread.count += count;
    else entry.threads.set(head.tid, { comm: head.comm, count });
  }

  /** The counts since the last call. */
  take(): StackCount[] {
    const counts = [...this.#counts.values()];
    this.#counts = new Map();
    return counts;
  }

  /** A new epoch begins: the caller tells the kernel side afterwards, which then sends every stack again. */
  beginEpoch(): void {
    this.#previous = this.#stacks;
    this.#stacks = new Map();
  }
}
