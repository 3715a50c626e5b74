// SPDX-License-Identifier: Apache-2.0
/** The program of the worker thread: parsing a large file takes a good part of a second, which the main thread has not. */
import { parentPort } from 'node:worker_threads';
import { type BuildReply, type BuildRequest, buildTable } from './processes/build-table.ts';
import type { WalkReply, WalkRequest } from './recovery/walk-request.ts';
import { walkSpill } from './recovery/walk-spill.ts';
import type { ElfSymbols } from './symbols/elf-symbols.ts';
import { readSymbolFiles, type SymbolRequest } from './symbols/symbol-files.ts';
import type { WorkerReply, WorkerRequest } from './worker-thread.ts';

/** What this program does. */
export interface AgentTasks {
  readonly buildTable: { input: BuildRequest; output: BuildReply };
  readonly readSymbols: { input: SymbolRequest; output: ElfSymbols };
  readonly walkSpill: { input: WalkRequest; output: WalkReply };
}

type TaskName = keyof AgentTasks;

const tasks: { [N in TaskName]: (input: AgentTasks[N]['input']) => Promise<AgentTasks[N]['output']> } = {
  buildTable: async (request) => buildTable(request),
  readSymbols: readSymbolFiles,
  walkSpill: async (request) => walkSpill(request),
};

/** Arrays of an output that are handed over instead of copied: the large ones. */
const arrays: { [N in TaskName]: (output: AgentTasks[N]['output']) => readonly ArrayBufferView[] } = {
  buildTable: ({ segments }) => segments.flatMap(({ index, rows, rules }) => [index, rows, rules]),
  readSymbols: ({ index }) => [index.starts, index.names],
  walkSpill: ({ addresses, flags, stack }) => [addresses, flags, stack],
};

async function answer<N extends TaskName>(task: N, input: AgentTasks[N]['input']): Promise<void> {
  let reply: WorkerReply;
  let transfer: ArrayBuffer[] = [];
  try {
    const output = await tasks[task](input);
    reply = { output };
    transfer = [...new Set(arrays[task](output).map(({ buffer }) => buffer as ArrayBuffer))];
  } catch (error) {
    reply = { error: error instanceof Error ? error.message : String(error) };
  }
  parentPort?.postMessage(reply, transfer);
}

parentPort?.on('message', ({ task, input }: WorkerRequest) => answer(task as TaskName, input as never));
