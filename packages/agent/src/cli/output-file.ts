// SPDX-License-Identifier: Apache-2.0
/**
 * Where a recording goes. A file is opened before anything is recorded, so that a recording is never lost to a path that
 * cannot be written; it appears under its name only when it is whole.
 */
import type { FileHandle } from 'node:fs/promises';
import { open, realpath, rename, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { AgentError } from '../errors.ts';
import type { OutputStream } from './terminal.ts';

export interface Output {
  /** As the user gave it; undefined for standard output. */
  readonly path: string | undefined;
  /** Writes all pieces and closes; resolves to the number of bytes. */
  write(pieces: AsyncIterable<string | Uint8Array> | Iterable<string | Uint8Array>): Promise<number>;
  /** Removes what was begun. Does nothing after `write` has succeeded. */
  discard(): Promise<void>;
}

export function standardOutput(stream: OutputStream): Output {
  return {
    path: undefined,
    discard: async () => {},
    async write(pieces) {
      let bytes = 0;
      for await (const piece of pieces) {
        bytes += byteLength(piece);
        await new Promise<void>((resolve, reject) => {
          stream.write(piece, (error) => (error ? reject(error) : resolve()));
        }).catch((error: NodeJS.ErrnoException) => {
          if (error.code !== 'EPIPE') throw unwritable('standard output', error);
        }); // the reader has seen enough
      }
      return bytes;
    },
  };
}

export async function openOutputFile(path: string): Promise<Output> {
  try {
    const existing = await stat(path).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return undefined;
      throw error;
    });
    if (existing?.isDirectory()) {
      throw new AgentError('output_unwritable', `${path} is a directory`, 'give a file: --output DIR/NAME');
    }
    // Pipes and devices are written as they are; they cannot be replaced.
    if (existing !== undefined && !existing.isFile()) return fileOutput(path, path, await open(path, 'w'));
    if (existing !== undefined) await (await open(path, 'r+')).close();
    const target = existing === undefined ? path : await realpath(path);
    const partial = `${target}.partial-${process.pid}`;
    return fileOutput(path, target, await open(partial, 'w'), partial);
  } catch (error) {
    throw unwritable(path, error);
  }
}

function fileOutput(path: string, target: string, file: FileHandle, partial?: string): Output {
  let open = true;
  async function discard(): Promise<void> {
    if (!open) return;
    open = false;
    await file.close().catch(() => {});
    if (partial !== undefined) await rm(partial, { force: true });
  }
  return {
    path,
    discard,
    async write(pieces) {
      try {
        let bytes = 0;
        for await (const piece of pieces) {
          bytes += byteLength(piece);
          await file.writeFile(piece);
        }
        if (partial !== undefined) await rename(partial, target);
        open = false;
        await file.close();
        return bytes;
      } catch (error) {
        await discard();
        throw unwritable(path, error);
      }
    },
  };
}

function byteLength(piece: string | Uint8Array): number {
  return typeof piece === 'string' ? Buffer.byteLength(piece) : piece.byteLength;
}

function unwritable(path: string, error: unknown): unknown {
  if (error instanceof AgentError) return error;
  const { code, message } = error as NodeJS.ErrnoException;
  const remedies: Readonly<Record<string, string>> = {
    ENOENT: `create the directory first: mkdir -p ${dirname(path)}`,
    ENOTDIR: `${dirname(path)} is not a directory`,
    EACCES: 'choose a directory that you may write to',
    EPERM: 'choose a directory that you may write to',
    EROFS: 'choose a directory on a file system that is not read-only',
    ENOSPC: 'free space on the file system, or choose another one',
    ENAMETOOLONG: 'choose a shorter name',
  };
  const remedy = code === undefined ? undefined : remedies[code];
  // An error that is not of the file system comes from what was to be written.
  if (remedy === undefined && code === undefined) return error;
  const reason = message.replace(/^[A-Z]+: /, '').replace(/, \w+.*$/, '');
  return new AgentError('output_unwritable', `cannot write ${path}: ${reason}`, remedy ?? 'choose another --output', {
    cause: error,
  });
}
