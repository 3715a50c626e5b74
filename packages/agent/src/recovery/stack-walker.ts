// SPDX-License-Identifier: Apache-2.0
import { Worker } from 'node:worker_threads';
import type { WalkReply, WalkRequest } from './walk-request.ts';

type Request = Omit<WalkRequest, 'id'>;

/** A thread that has nothing to do is ended after so long: it costs some 20 MiB, and 30 ms to start. */
const IDLE_MS = 5_000;

/** Runs the recovery worker: one thread, started when there is a stack to walk. */
export class StackWalker {
  #worker: Worker | undefined;
  #idle: NodeJS.Timeout | undefined;
  #lastId = 0;
  readonly #waiting = new Map<number, (reply: WalkReply | undefined) => void>();

  /** Takes the stack's memory away from the caller. Undefined: the thread ended before it could answer. Never rejects. */
  walk(request: Request): Promise<WalkReply | undefined> {
    clearTimeout(this.#idle);
    this.#worker ??= this.#start();
    const worker = this.#worker;
    const id = ++this.#lastId;
    return new Promise((resolve) => {
      this.#waiting.set(id, resolve);
      worker.postMessage({ ...request, id } satisfies WalkRequest, [request.stack.buffer]);
    });
  }

  async close(): Promise<void> {
    clearTimeout(this.#idle);
    await this.#retire();
    this.#fail();
  }

  /** What is asked for while the thread ends is for the next one: it does not fail. */
  async #retire(): Promise<void> {
    const worker = this.#worker;
    this.#worker = undefined;
    await worker?.terminate();
  }

  #start(): Worker {
    // The bundle has the worker beside it as JavaScript, the sources as TypeScript.
    const file = import.meta.url.endsWith('.ts') ? './recovery-worker.ts' : './recovery-worker.mjs';
    const worker = new Worker(new URL(file, import.meta.url), {
      resourceLimits: { maxYoungGenerationSizeMb: 8, maxOldGenerationSizeMb: 512 },
    });
    worker.unref();
    worker.on('message', (reply: WalkReply) => {
      const resolve = this.#waiting.get(reply.id);
      this.#waiting.delete(reply.id);
      resolve?.(reply);
      if (this.#waiting.size === 0) this.#idle = setTimeout(() => void this.#retire(), IDLE_MS).unref();
    });
    // A file that exhausts the thread's memory ends the thread, not the agent.
    worker.on('error', () => this.#ended(worker));
    worker.on('exit', () => this.#ended(worker));
    return worker;
  }

  #ended(worker: Worker): void {
    if (this.#worker !== worker) return;
    this.#worker = undefined;
    this.#fail();
  }

  #fail(): void {
    const waiting = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const resolve of waiting) resolve(undefined);
  }
}
