// SPDX-License-Identifier: Apache-2.0
import { Worker } from 'node:worker_threads';
import type { ElfSymbols } from './elf-symbols.ts';
import type { SymbolReply, SymbolRequest } from './symbol-files.ts';

/** After so long without work the thread ends; it costs some 8 MiB. */
const IDLE_MS = 30_000;

/** Reads symbol tables on a thread of its own, one after the other. */
export class SymbolReader {
  #worker: Worker | undefined;
  #idle: NodeJS.Timeout | undefined;
  #nextId = 1;
  readonly #waiting = new Map<number, { resolve: (symbols: ElfSymbols) => void; reject: (error: Error) => void }>();

  /** Rejects with what is wrong with the file, or when the thread died of it. */
  read(request: Omit<SymbolRequest, 'id'>): Promise<ElfSymbols> {
    clearTimeout(this.#idle);
    this.#worker ??= this.#start();
    const worker = this.#worker;
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      worker.postMessage({ id, ...request });
    });
  }

  async close(): Promise<void> {
    clearTimeout(this.#idle);
    await this.#retire();
    this.#fail(new Error('the symbolizer was closed'));
  }

  /** What is asked for while the thread ends is for the next one: it does not fail. */
  async #retire(): Promise<void> {
    const worker = this.#worker;
    this.#worker = undefined;
    await worker?.terminate();
  }

  #start(): Worker {
    // The bundle has the worker beside it as JavaScript, the sources as TypeScript.
    const file = import.meta.url.endsWith('.ts') ? './symbol-worker.ts' : './symbol-worker.mjs';
    const worker = new Worker(new URL(file, import.meta.url), {
      resourceLimits: { maxYoungGenerationSizeMb: 8, maxOldGenerationSizeMb: 512 },
    });
    worker.unref();
    worker.on('message', ({ id, symbols, error }: SymbolReply) => {
      const waiting = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (symbols) waiting?.resolve(symbols);
      else waiting?.reject(new Error(error));
      if (this.#waiting.size === 0) {
        this.#idle = setTimeout(() => void this.#retire(), IDLE_MS);
        this.#idle.unref();
      }
    });
    worker.on('error', (error) => {
      if (this.#worker === worker) this.#worker = undefined;
      this.#fail(error instanceof Error ? error : new Error(String(error)));
    });
    return worker;
  }

  #fail(error: Error): void {
    const waiting = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const { reject } of waiting) reject(error);
  }
}
