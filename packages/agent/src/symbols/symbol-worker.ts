// SPDX-License-Identifier: Apache-2.0
/** The thread that reads large symbol tables. */
import { parentPort } from 'node:worker_threads';
import { readSymbolFiles, type SymbolReply, type SymbolRequest } from './symbol-files.ts';

parentPort?.on('message', async (request: SymbolRequest) => {
  let reply: SymbolReply;
  try {
    reply = { id: request.id, symbols: await readSymbolFiles(request) };
  } catch (error) {
    reply = { id: request.id, error: error instanceof Error ? error.message : String(error) };
  }
  const { starts, names } = reply.symbols?.index ?? {};
  parentPort?.postMessage(reply, starts && names ? [starts.buffer as ArrayBuffer, names.buffer as ArrayBuffer] : []);
});
