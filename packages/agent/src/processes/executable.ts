// SPDX-License-Identifier: Apache-2.0
/** A file with executable code that some process has mapped. */
import type { BuildIds } from '../elf/notes.ts';
import type { FileIdentity } from './executables.ts';

/** A part of a file's text whose unwind table is in the kernel. Addresses are file virtual addresses. */
export interface LoadedSegment {
  readonly textStart: number;
  /** Exclusive. */
  readonly textEnd: number;
  /** Its number in the map `segments`. */
  readonly number: number;
}

/**
 * A PT_LOAD program header of executable memory. Others are left out: by lld's layout a page of the file belongs to two
 * segments, at different addresses.
 */
export interface LoadHeader {
  readonly offset: number;
  readonly address: number;
  readonly fileSize: number;
}

/**
 * - `pending`: its table is being built
 * - `ready`: its table is in the kernel
 * - `anonymous`: not an ELF file (a JIT's memory file, say): as anonymous memory
 * - `failed`: it could not be read, is malformed, or its table did not fit; `error` says which
 */
export type ExecutableState = 'pending' | 'ready' | 'anonymous' | 'failed';

export class Executable {
  readonly id: number;
  /** What identifies the file's content: device, inode, size, time of change. */
  readonly key: string;
  /** The path under which it was first seen, in the mount namespace of the process that mapped it. */
  readonly path: string;
  /** Open for reading as long as the executable is known, so that deleted files can still be symbolized. -1: `bytes` is all there is. */
  readonly fd: number;
  /** The vDSO, which is no file. */
  readonly bytes: Uint8Array | undefined;
  state: ExecutableState = 'pending';
  /** When it came into this state, ms of the monotonic clock. */
  since = performance.now();
  error: string | undefined;
  loads: readonly LoadHeader[] = [];
  segments: readonly LoadedSegment[] = [];
  buildIds: BuildIds = { gnu: '', go: '' };
  /** How the kernel knows it, as far as the side-band has told. */
  readonly identities: FileIdentity[] = [];
  /** Bytes that its table takes in the kernel. */
  tableBytes = 0;
  /** Process images that have it mapped. */
  users = 0;
  /** When it lost its last user, ms of the monotonic clock. */
  unusedSince = 0;

  constructor(id: number, key: string, path: string, fd: number, bytes?: Uint8Array) {
    this.id = id;
    this.key = key;
    this.path = path;
    this.fd = fd;
    this.bytes = bytes;
  }

  /** The file virtual address of the byte at a file offset; undefined where no PT_LOAD holds it. */
  addressOfOffset(offset: number): number | undefined {
    // A mapping begins at a page boundary, which may lie before the header's own offset.
    for (const load of this.loads)
      if (offset >= load.offset - (load.offset % 4096) && offset < load.offset + load.fileSize)
        return load.address + (offset - load.offset);
    return undefined;
  }
}
