// SPDX-License-Identifier: Apache-2.0
import { type BuildReply, type BuildRequest, failedBuild } from './processes/build-table.ts';
import type { WalkReply, WalkRequest } from './recovery/walk-request.ts';
import type { ElfSymbols } from './symbols/elf-symbols.ts';
import type { SymbolRequest } from './symbols/symbol-files.ts';
import type { AgentTasks } from './worker.ts';
import { WorkerThread } from './worker-thread.ts';

/** The bundle has the worker beside it as JavaScript, the sources as TypeScript. */
const PROGRAM = new URL(import.meta.url.endsWith('.ts') ? './worker.ts' : './worker.mjs', import.meta.url);

export interface BackgroundWorkOptions {
  readonly program?: URL;
  /** There has been nothing to do for some seconds, and the thread has ended. */
  readonly onIdle?: () => void;
}

/**
 * What would hold up the main thread, on one thread beside it: a second one would cost its heap again. Walks and symbols
 * go before tables, which take longest; of these the smallest goes first: a library that a process has just loaded must
 * not wait for a compiler of 100 MB.
 */
export class BackgroundWork {
  readonly #thread: WorkerThread<AgentTasks>;

  /** Throws an AgentError where the program of the thread is missing: without tables no stack would be whole. */
  constructor({ program = PROGRAM, onIdle }: BackgroundWorkOptions = {}) {
    this.#thread = new WorkerThread(program, { onIdle });
  }

  /** Never rejects: what goes wrong, also the death of the thread, is in the reply. */
  buildTable(request: BuildRequest): Promise<BuildReply> {
    return this.#thread.run('buildTable', request, { size: request.size }).catch(failedBuild);
  }

  /** Rejects with what is wrong with the file, or when the thread died of it. */
  readSymbols(request: SymbolRequest): Promise<ElfSymbols> {
    return this.#thread.run('readSymbols', request);
  }

  /** Takes the stack's memory away from the caller. Undefined: the thread ended before it could answer. Never rejects. */
  walkSpill(request: WalkRequest): Promise<WalkReply | undefined> {
    return this.#thread.run('walkSpill', request, { transfer: [request.stack.buffer] }).catch(() => undefined);
  }

  close(): Promise<void> {
    return this.#thread.close();
  }
}
