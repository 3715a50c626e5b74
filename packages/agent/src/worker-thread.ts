// SPDX-License-Identifier: Apache-2.0
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { AgentError } from './errors.ts';

/** What the thread's program answers to each message, one after the other. */
export interface WorkerReply {
  readonly output?: unknown;
  /** Why there is no output. */
  readonly error?: string;
}

/** A task's message to the thread's program. */
export interface WorkerRequest {
  readonly task: string;
  readonly input: unknown;
}

export interface RunOptions {
  /** Of the tasks that wait, the smallest is next, and of equal ones the oldest: time goes with size. Default 0. */
  readonly size?: number;
  /** Buffers of the input that are handed over instead of copied. */
  readonly transfer?: readonly ArrayBuffer[];
}

export interface WorkerThreadOptions {
  /** The thread ends when it has had nothing to do for so long: ms. */
  readonly idleMs?: number;
  /** It has ended for that. */
  readonly onIdle?: () => void;
}

interface Waiting extends WorkerRequest {
  readonly size: number;
  readonly transfer: readonly ArrayBuffer[];
  readonly resolve: (output: unknown) => void;
  readonly reject: (error: Error) => void;
}

/** A thread that has nothing to do is ended after so long: its heap goes with it, some 20 MiB. A new one takes 30 ms to start. */
const IDLE_MS = 5_000;

/** What a thread's program can be asked for, by its name. */
type Tasks<Name extends PropertyKey> = Record<Name, { input: unknown; output: unknown }>;

/**
 * A thread that is started when there is something to do and ended when there is not. It does one task at a time, so
 * that its death takes no other with it.
 */
export class WorkerThread<T extends Tasks<keyof T>> {
  readonly #program: URL;
  readonly #idleMs: number;
  readonly #onIdle: () => void;
  #worker: Worker | undefined;
  /** What the thread is doing. */
  #current: Waiting | undefined;
  #queue: Waiting[] = [];
  #idle: NodeJS.Timeout | undefined;

  /** Throws an AgentError where the program of the thread is missing. */
  constructor(program: URL, { idleMs = IDLE_MS, onIdle = () => {} }: WorkerThreadOptions = {}) {
    const path = fileURLToPath(program);
    if (!existsSync(path)) throw new AgentError('not_built', `${path} is missing`, 'install Plumbline anew');
    this.#program = program;
    this.#idleMs = idleMs;
    this.#onIdle = onIdle;
  }

  /** Whether there is a thread. */
  get isRunning(): boolean {
    return this.#worker !== undefined;
  }

  /** Rejects with what the task threw, or when the thread died of it or was closed. */
  run<Name extends keyof T & string>(
    task: Name,
    input: T[Name]['input'],
    options: RunOptions = {},
  ): Promise<T[Name]['output']> {
    const { size = 0, transfer = [] } = options;
    return new Promise((resolve, reject) => {
      this.#queue.push({ task, input, size, transfer, resolve, reject });
      this.#next();
    });
  }

  /** Ends the thread; what waits is rejected. What is asked for later starts another. */
  async close(): Promise<void> {
    clearTimeout(this.#idle);
    const ended = this.#end();
    const unanswered = [this.#take() ?? [], this.#queue.splice(0)].flat();
    for (const { reject } of unanswered) reject(new Error('the agent is shutting down'));
    await ended;
  }

  #next(): void {
    if (this.#current) return;
    clearTimeout(this.#idle);
    if (this.#queue.length === 0) {
      if (this.#worker) this.#idle = setTimeout(() => this.#retire(), this.#idleMs).unref();
      return;
    }
    const next = this.#queue.reduce((a, b) => (b.size < a.size ? b : a));
    this.#queue.splice(this.#queue.indexOf(next), 1);
    this.#worker ??= this.#start();
    this.#current = next;
    const { task, input, transfer } = next;
    try {
      this.#worker.postMessage({ task, input } satisfies WorkerRequest, transfer);
    } catch (error) {
      this.#take()?.reject(error as Error); // an input that is no data
      this.#next();
    }
  }

  #retire(): void {
    void this.#end().then(this.#onIdle);
  }

  /** What is asked for while the thread ends is for the next one: it does not fail. */
  async #end(): Promise<void> {
    const worker = this.#worker;
    this.#worker = undefined;
    await worker?.terminate();
  }

  #start(): Worker {
    const worker = new Worker(this.#program, {
      resourceLimits: { maxYoungGenerationSizeMb: 8, maxOldGenerationSizeMb: 512 },
    });
    worker.unref();
    worker.on('message', ({ output, error }: WorkerReply) => {
      if (this.#worker !== worker) return; // closed meanwhile
      const done = this.#take();
      this.#next();
      if (error === undefined) done?.resolve(output);
      else done?.reject(new Error(error));
    });
    // A file that exhausts the thread's memory ends the thread, not the agent.
    worker.on('error', (error) => this.#died(worker, error instanceof Error ? error.message : String(error)));
    worker.on('exit', (code) => this.#died(worker, `exit code ${code}`));
    return worker;
  }

  #died(worker: Worker, why: string): void {
    if (this.#worker !== worker) return; // ended by us, or known already
    this.#worker = undefined;
    const failed = this.#take();
    this.#next();
    failed?.reject(new Error(`the worker thread ended: ${why}`));
  }

  #take(): Waiting | undefined {
    const current = this.#current;
    this.#current = undefined;
    return current;
  }
}
