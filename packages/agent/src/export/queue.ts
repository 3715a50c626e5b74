// SPDX-License-Identifier: Apache-2.0
import type { Spool, SpooledRequest } from './spool.ts';

/** Why samples were lost on their way to a receiver. */
export const DROP_CAUSES = {
  queue_full: 'the queue in memory was full, and there is no spool',
  spool_full: 'the spool was full; the oldest went',
  spool_damaged: 'a file of the spool was damaged',
  spool_failed: 'the spool could not be written (disk full, say)',
  refused: 'the receiver refused them for good',
  too_large: 'a single sample is larger than a request may be',
  shutdown: 'the agent ended before they could be sent, and there is no spool',
} as const;
export type DropCause = keyof typeof DROP_CAUSES;

export interface QueueOptions {
  /** Bytes of requests in memory; beyond them the oldest go to the spool or, without one, are dropped. */
  readonly maxBytes: number;
  readonly spool?: Spool;
  readonly onDrop: (cause: DropCause, samples: number) => void;
  readonly onSpoolError?: (error: Error) => void;
}

/** A request at the head of the queue; it stays in the queue until `remove`. */
export interface QueuedRequest extends SpooledRequest {
  /** Set while the request is on disk. */
  spoolName?: string;
}

/**
 * Requests that wait to be sent, oldest first: those on disk, then those in memory. One consumer takes the head, sends it,
 * and removes it.
 */
export class ExportQueue {
  readonly #options: QueueOptions;
  readonly #memory: QueuedRequest[] = [];
  #memoryBytes = 0;
  #wake: (() => void) | undefined;
  /** Operations on the spool, one after the other. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(options: QueueOptions) {
    this.#options = options;
  }

  /** Requests that wait, in memory and on disk. */
  get count(): number {
    return this.#memory.length + (this.#options.spool?.count ?? 0);
  }

  get memoryBytes(): number {
    return this.#memoryBytes;
  }

  /** Adds a request. What has no room any more is in the spool, or dropped, when this resolves. */
  async push(request: SpooledRequest): Promise<void> {
    this.#memory.push({ ...request });
    this.#memoryBytes += request.payload.length;
    this.#wake?.();
    if (this.#memoryBytes > this.#options.maxBytes) {
      await this.#serially(() => this.#makeRoom());
    }
  }

  /** The head of the queue, as soon as there is one. Once `ending` has aborted it waits no more: undefined when empty. */
  async head(ending: AbortSignal): Promise<QueuedRequest | undefined> {
    for (;;) {
      const request = await this.#serially(() => this.#peek());
      if (request) return request;
      if (this.count > 0) continue;
      if (ending.aborted) return undefined;
      const { promise, resolve } = Promise.withResolvers<void>();
      const wake = () => resolve();
      this.#wake = wake;
      ending.addEventListener('abort', wake);
      await promise;
      ending.removeEventListener('abort', wake);
      this.#wake = undefined;
    }
  }

  /** Forgets a request that `head` gave. */
  async remove(request: QueuedRequest): Promise<void> {
    await this.#serially(async () => {
      if (request.spoolName !== undefined) await this.#options.spool?.remove(request.spoolName);
      else this.#forget(request);
    });
  }

  /** Writes everything in memory to the spool, where a crash does not reach it. What cannot be written stays in memory. */
  async spill(): Promise<void> {
    await this.#serially(async () => {
      while (this.#memory.length > 0 && (await this.#spillOldest()) === 'written');
    });
  }

  /** Ends the queue: everything to the spool, and what cannot be written is dropped. */
  async close(): Promise<void> {
    await this.spill();
    const cause = this.#options.spool ? 'spool_failed' : 'shutdown';
    for (const { samples } of this.#memory) this.#options.onDrop(cause, samples);
    this.#memory.length = 0;
    this.#memoryBytes = 0;
  }

  async #peek(): Promise<QueuedRequest | undefined> {
    const spooled = await this.#options.spool?.oldest();
    return spooled ? { ...spooled, spoolName: spooled.name } : this.#memory[0];
  }

  async #makeRoom(): Promise<void> {
    while (this.#memoryBytes > this.#options.maxBytes && this.#memory.length > 0) {
      const result = await this.#spillOldest();
      if (result === 'written') continue;
      const [oldest] = this.#memory;
      this.#forget(oldest);
      this.#options.onDrop(result === 'failed' ? 'spool_failed' : 'queue_full', oldest.samples);
    }
  }

  async #spillOldest(): Promise<'written' | 'failed' | 'no spool'> {
    const { spool, onSpoolError } = this.#options;
    const [oldest] = this.#memory;
    if (!spool) return 'no spool';
    try {
      const name = await spool.write(oldest);
      oldest.spoolName = name ?? '';
      this.#forget(oldest);
      return 'written';
    } catch (error) {
      onSpoolError?.(error instanceof Error ? error : new Error(String(error)));
      return 'failed';
    }
  }

  #forget(request: QueuedRequest): void {
    const index = this.#memory.indexOf(request);
    if (index < 0) return;
    this.#memory.splice(index, 1);
    this.#memoryBytes -= request.payload.length;
  }

  #serially<T>(action: () => Promise<T>): Promise<T> {
    const result = this.#last.then(action);
    this.#last = result.catch(() => undefined);
    return result;
  }
}
