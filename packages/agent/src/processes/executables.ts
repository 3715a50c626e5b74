// SPDX-License-Identifier: Apache-2.0
/** All files with executable code that are mapped on this machine, each once, however many processes share it. */
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import type { Logger } from '../log.ts';
import type { UnwindSegment } from '../unwind-table/encode.ts';
import type { BuildReply, BuildRequest } from './build-table.ts';
import { Executable, type LoadedSegment } from './executable.ts';
import { type KernelMapping, kernelMappings } from './kernel-mappings.ts';
import type { ExecutableMapping } from './proc-fs.ts';

/** What names one file for good, as the kernel knows it; all zero: the vDSO. */
export interface FileIdentity {
  readonly major: number;
  readonly minor: number;
  readonly inode: bigint;
  readonly inodeGeneration: number;
}

const VDSO: FileIdentity = { major: 0, minor: 0, inode: 0n, inodeGeneration: 0 };

/** Where unwind tables go: the kernel (session/tables.ts). */
export interface SegmentStore {
  /** The segment's number; undefined where there is no room. */
  addSegment(segment: UnwindSegment): number | undefined;
  removeSegment(number: number): void;
  /** Lets the kernel walk this file in processes that are not known yet. Mappings are in file offsets. */
  setFile(identity: FileIdentity, mappings: readonly KernelMapping[]): void;
  deleteFile(identity: FileIdentity): void;
}

export interface ExecutablesOptions {
  readonly store: SegmentStore;
  readonly build: (request: BuildRequest) => Promise<BuildReply>;
  /** An executable's table has come into the kernel, or never will: its mappings have to be written anew. */
  readonly onSettled: (executable: Executable) => void;
  readonly log: Logger;
  /** Files of which one is kept open; the least recently used ones without users go first. */
  readonly maxUnused?: number;
}

const MAX_VDSO_SIZE = 1 << 16;

export class Executables {
  readonly #options: ExecutablesOptions;
  readonly #byKey = new Map<string, Executable>();
  readonly #byId = new Map<number, Executable>();
  /** By the identity that the side-band gives: spares opening a file for each of its mappings. */
  readonly #byIdentity = new Map<string, Executable>();
  #lastId = 0;
  #pending = 0;
  #isClosed = false;
  buildMs = 0;
  built = 0;
  failed = 0;

  constructor(options: ExecutablesOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#byKey.size;
  }

  /** Tables being built. */
  get pending(): number {
    return this.#pending;
  }

  get(id: number): Executable | undefined {
    return this.#byId.get(id);
  }

  values(): IterableIterator<Executable> {
    return this.#byKey.values();
  }

  /**
   * The executable behind a mapping; its table is begun if it is new. Undefined where the memory has no file, or the
   * file cannot be reached (the process and its files are gone already).
   */
  find(pid: number, mapping: ExecutableMapping, identity?: FileIdentity): Executable | undefined {
    if (this.#isClosed) return undefined;
    if (mapping.path === '[vdso]') return this.#findVdso(pid, mapping);
    const name = identity && nameOf(identity);
    const known = name === undefined ? undefined : this.#byIdentity.get(name);
    if (known) return known;
    const executable = this.#findFile(pid, mapping);
    if (executable && identity && name !== undefined) {
      this.#byIdentity.set(name, executable);
      executable.identities.push(identity);
      if (executable.state === 'ready') this.#options.store.setFile(identity, fileMappings(executable));
    }
    return executable;
  }

  /** Begins the table of a file that will be run: so that it is there by then. Undefined where it cannot be read. */
  preload(path: string): Executable | undefined {
    if (this.#isClosed) return undefined;
    const fd = openSame(path, 0);
    return fd === undefined ? undefined : this.#identify(path, fd);
  }

  retain(executable: Executable): void {
    executable.users++;
  }

  release(executable: Executable): void {
    if (--executable.users === 0) executable.unusedSince = performance.now();
  }

  /** Forgets executables that nobody has mapped for `ms`, or the longest unused ones where there are too many. */
  evict(ms: number): number {
    const now = performance.now();
    const unused = [...this.#byKey.values()].filter((e) => e.users === 0 && e.state !== 'pending');
    unused.sort((a, b) => a.unusedSince - b.unusedSince);
    const surplus = unused.length - (this.#options.maxUnused ?? 512);
    const gone = unused.filter((e, index) => index < surplus || now - e.unusedSince > ms);
    for (const executable of gone) this.#forget(executable);
    return gone.length;
  }

  /** Closes the files. Tables in the making and files that turn up later are left alone. */
  close(): void {
    this.#isClosed = true;
    for (const executable of this.#byKey.values()) if (executable.fd >= 0) closeSync(executable.fd);
    this.#byKey.clear();
    this.#byId.clear();
    this.#byIdentity.clear();
  }

  #forget(executable: Executable): void {
    for (const segment of executable.segments) this.#options.store.removeSegment(segment.number);
    this.#byKey.delete(executable.key);
    this.#byId.delete(executable.id);
    for (const identity of executable.identities) {
      this.#byIdentity.delete(nameOf(identity));
      this.#options.store.deleteFile(identity);
    }
    if (executable.fd >= 0) closeSync(executable.fd);
  }

  #findFile(pid: number, mapping: ExecutableMapping): Executable | undefined {
    if (!mapping.path.startsWith('/')) return undefined;
    const fd = openMapped(pid, mapping);
    return fd === undefined ? undefined : this.#identify(mapping.path, fd);
  }

  /** The executable of an open file; the descriptor is kept or closed. */
  #identify(path: string, fd: number): Executable {
    const stat = fstatSync(fd, { bigint: true });
    const key = `${stat.dev}:${stat.ino}:${stat.size}:${stat.mtimeNs}`;
    const known = this.#byKey.get(key);
    if (known) {
      closeSync(fd);
      return known;
    }
    return this.#begin(new Executable(++this.#lastId, key, path, fd), Number(stat.size));
  }

  #findVdso(pid: number, mapping: ExecutableMapping): Executable | undefined {
    // The kernel has one image for all 64-bit processes.
    const known = this.#byKey.get('vdso');
    if (known) return known;
    const size = mapping.end - mapping.start;
    if (size > MAX_VDSO_SIZE) return undefined;
    const bytes = new Uint8Array(size);
    try {
      const fd = openSync(`/proc/${pid}/mem`, 'r');
      try {
        if (readSync(fd, bytes, 0, size, mapping.start) !== size) return undefined;
      } finally {
        closeSync(fd);
      }
    } catch {
      return undefined;
    }
    const executable = new Executable(++this.#lastId, 'vdso', '[vdso]', -1, bytes);
    executable.identities.push(VDSO);
    return this.#begin(executable, size);
  }

  #begin(executable: Executable, size: number): Executable {
    this.#byKey.set(executable.key, executable);
    this.#byId.set(executable.id, executable);
    this.#pending++;
    const { fd, bytes } = executable;
    void this.#options
      .build(bytes ? { fd, bytes, size } : { fd, size })
      .then((reply) => this.#settle(executable, reply));
    return executable;
  }

  #settle(executable: Executable, reply: BuildReply): void {
    this.#pending--;
    if (this.#byId.get(executable.id) !== executable) return; // closed meanwhile
    this.buildMs += reply.buildMs;
    executable.since = performance.now();
    executable.loads = reply.loads;
    executable.buildIds = reply.buildIds;
    if (reply.error !== undefined) {
      executable.state = reply.notElf ? 'anonymous' : 'failed';
      executable.error = reply.error;
    } else {
      const segments: LoadedSegment[] = [];
      for (const segment of reply.segments) {
        const number = this.#options.store.addSegment(segment);
        if (number === undefined) {
          executable.error = 'there is no more room for unwind tables';
          continue;
        }
        segments.push({ textStart: segment.textStart, textEnd: segment.textEnd, number });
        executable.tableBytes += segment.byteLength;
      }
      executable.segments = segments;
      executable.state = segments.length === 0 && executable.error !== undefined ? 'failed' : 'ready';
      if (executable.state === 'ready')
        for (const identity of executable.identities) this.#options.store.setFile(identity, fileMappings(executable));
    }
    if (executable.state === 'failed') {
      this.failed++;
      this.#options.log.warn('no unwind table', { path: executable.path, reason: executable.error });
    } else {
      this.built++;
    }
    this.#options.onSettled(executable);
  }
}

function nameOf({ major, minor, inode, inodeGeneration }: FileIdentity): string {
  return `${major}:${minor}:${inode}:${inodeGeneration}`;
}

/** The file's code as mappings in file offsets: as if it were mapped at address 0. */
function fileMappings(executable: Executable): KernelMapping[] {
  return kernelMappings(
    executable.loads.map(({ offset, fileSize }) => ({
      start: offset,
      end: offset + fileSize,
      offset,
      path: executable.path,
      device: '',
      inode: 0,
      executable,
    })),
  ).filter(({ kind }) => kind === 'table');
}

/**
 * Opens a mapped file. First by the path in the process's own root, if that is the file that is mapped; then by the
 * mapping itself, which also reaches deleted files but needs CAP_CHECKPOINT_RESTORE; then by the path as we see it,
 * for processes that are gone already.
 */
function openMapped(pid: number, mapping: ExecutableMapping): number | undefined {
  const range = `${mapping.start.toString(16)}-${mapping.end.toString(16)}`;
  return (
    openSame(`/proc/${pid}/root${mapping.path}`, mapping.inode) ??
    openSame(`/proc/${pid}/map_files/${range}`, 0) ??
    openSame(mapping.path, mapping.inode)
  );
}

/** Opens path if its inode is the given one (0: any). */
function openSame(path: string, inode: number): number | undefined {
  let fd: number;
  try {
    // Without O_NONBLOCK a process that puts a FIFO in the place of its file would halt the agent.
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch {
    return undefined;
  }
  const stat = fstatSync(fd);
  if (stat.isFile() && (inode === 0 || stat.ino === inode)) return fd;
  closeSync(fd);
  return undefined;
}
