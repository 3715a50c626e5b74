// SPDX-License-Identifier: Apache-2.0
import { Worker } from 'node:worker_threads';
import type { WalkReply, WalkRequest } from './walk-request.ts';

type Request = Omit<WalkRequest, 'id'>;

/** Runs the recovery worker: one thread, started with the first stack. */
export class StackWalker {
  #worker: Worker | undefined;
  #lastId = 0;
  readonly #waiting = new Map<number, (reply: WalkReply | undefined) => void>();

  /** Takes the stack's memory away from the caller. Undefined: the thread ended before it could answer. Never rejects. */
  walk(request: Request): Promise<WalkReply | undefined> {
    this.#worker ??= this.#start();
    const worker = this.#worker;
    const id = ++this.#lastId;
    return new Promise((resolve) => {
      this.#waiting.set(id, resolve);
      worker.postMessage({ ...request, id } satisfies WalkRequest, [request.stack.buffer]);
    });
  }

  async close(): Promise<void> {
    const worker = this.#worker;
    this.#worker = undefined;
    await worker?.terminate();
    this.#fail();
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
