// SPDX-License-Identifier: Apache-2.0
import { ElfError } from '../elf/errors.ts';
import { PF_X, PT_LOAD, parseElf } from '../elf/file.ts';
import { readBuildIds } from '../elf/notes.ts';
import { bytesSource } from '../elf/source.ts';
import { buildUnwindTable } from '../unwind-table/build.ts';
import type { UnwindSegment } from '../unwind-table/encode.ts';
import type { LoadHeader } from './executable.ts';
import { fileSource } from './file-source.ts';

export interface BuildRequest {
  /** Open for reading in this process; ignored where `bytes` is given. */
  readonly fd: number;
  readonly bytes?: Uint8Array;
  /** Bytes; smaller files go first. */
  readonly size: number;
}

export interface BuildReply {
  /** What is known of the file even where its table could not be built. */
  readonly loads: readonly LoadHeader[];
  readonly buildIds: { readonly gnu: string; readonly go: string };
  readonly segments: readonly UnwindSegment[];
  /** Why there is no table. */
  readonly error?: string;
  /** The file is no ELF file at all. */
  readonly notElf?: boolean;
  readonly buildMs: number;
}

/** Builds the unwind table of a file. What is wrong with it is in the reply. */
export function buildTable(request: BuildRequest): BuildReply {
  const begun = performance.now();
  let loads: LoadHeader[] = [];
  let buildIds = { gnu: '', go: '' };
  try {
    const source = request.bytes ? bytesSource(request.bytes) : fileSource(request.fd);
    const file = parseElf(source);
    loads = file.programHeaders
      .filter(({ type, flags }) => type === PT_LOAD && (flags & PF_X) !== 0)
      .map((header) => ({ offset: header.offset, address: header.address, fileSize: header.fileSize }));
    buildIds = readBuildIds(file, source);
    const { segments } = buildUnwindTable(file, source);
    return { loads, buildIds, segments, buildMs: performance.now() - begun };
  } catch (error) {
    return {
      loads,
      buildIds,
      segments: [],
      error: error instanceof Error ? error.message : String(error),
      notElf: error instanceof ElfError && error.code === 'notElf',
      buildMs: performance.now() - begun,
    };
  }
}

/** The reply where the builder itself failed. */
export function failedBuild(error: Error): BuildReply {
  return { loads: [], buildIds: { gnu: '', go: '' }, segments: [], error: error.message, buildMs: 0 };
}
