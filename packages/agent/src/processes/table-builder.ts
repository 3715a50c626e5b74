// SPDX-License-Identifier: Apache-2.0
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { AgentError } from '../errors.ts';
import type { BuildReply, BuildRequest } from './table-worker.ts';

/** The bundle has the worker beside it as JavaScript, the sources as TypeScript. */
const WORKER = new URL(import.meta.url.endsWith('.ts') ? './table-worker.ts' : './table-worker.mjs', import.meta.url);

/** A thread that has nothing to do is ended after so long: its heap goes with it. A new one takes 30 ms to start. */
const IDLE_MS = 3_000;

/**
 * Runs the table worker. One thread; the smallest file that waits goes first: a library that a process has just loaded
 * must not wait for a compiler of 100 MB, and time goes with size.
 */
export class TableBuilder {
  readonly #program: URL;
  #worker: Worker | undefined;
  /** Not given to the worker yet, which has one request at a time. */
  #queue: BuildRequest[] = [];
  #isBusy = false;
  #idle: NodeJS.Timeout | undefined;
  readonly #waiting = new Map<number, (reply: BuildReply) => void>();

  /** Throws an AgentError where the program of the thread is missing: without tables no stack would be whole. */
  constructor(program = WORKER) {
    const path = fileURLToPath(program);
    if (!existsSync(path)) throw new AgentError('not_built', `${path} is missing`, 'install Plumbline anew');
    this.#program = program;
  }

  /** Never rejects: what goes wrong, also the death of the thread, is in the reply. */
  build(request: BuildRequest): Promise<BuildReply> {
    return new Promise((resolve) => {
      this.#waiting.set(request.id, resolve);
      this.#queue.push(request);
      this.#next();
    });
  }

  async close(): Promise<void> {
    clearTimeout(this.#idle);
    const worker = this.#worker;
    this.#worker = undefined;
    await worker?.terminate();
    this.#fail('the agent is shutting down');
  }

  #next(): void {
    if (this.#isBusy) return;
    clearTimeout(this.#idle);
    if (this.#queue.length === 0) {
      this.#idle = setTimeout(() => this.#retire(), IDLE_MS).unref();
      return;
    }
    const smallest = this.#queue.reduce((a, b) => (b.size < a.size ? b : a));
    this.#queue = this.#queue.filter((request) => request !== smallest);
    this.#isBusy = true;
    this.#worker ??= this.#start();
    this.#worker.postMessage(smallest);
  }

  #retire(): void {
    const worker = this.#worker;
    this.#worker = undefined;
    void worker?.terminate();
  }

  #start(): Worker {
    const worker = new Worker(this.#program, {
      resourceLimits: { maxYoungGenerationSizeMb: 8, maxOldGenerationSizeMb: 512 },
    });
    worker.unref();
    worker.on('message', (reply: BuildReply) => {
      const resolve = this.#waiting.get(reply.id);
      this.#waiting.delete(reply.id);
      this.#isBusy = false;
      this.#next();
      resolve?.(reply);
    });
    worker.on('error', (error) => {
      // A file that exhausts the thread's memory ends the thread, not the agent.
      if (this.#worker === worker) this.#worker = undefined;
      this.#fail(`the table builder ended: ${error instanceof Error ? error.message : String(error)}`);
    });
    return worker;
  }

  #fail(error: string): void {
    for (const [id, resolve] of this.#waiting)
      resolve({ id, loads: [], buildIds: { gnu: '', go: '' }, segments: [], error, buildMs: 0 });
    this.#waiting.clear();
    this.#queue = [];
    this.#isBusy = false;
  }
}
