// SPDX-License-Identifier: Apache-2.0
/**
 * The processes of the machine and what they have mapped, kept from /proc at the start and from kernel events since:
 * fork, exec and exit come over the BPF ring in the order of the samples; new mappings come over the perf side-band.
 * The kernel side walks with what this table writes through `ProcessStore`.
 */
import type { SideBandRecord } from '@plumbline/bpf';
import type { Executable } from './executable.ts';
import type { Executables } from './executables.ts';
import { type KernelMapping, kernelMappings } from './kernel-mappings.ts';
import { type ImageMapping, ProcessImage, withMapping } from './process-image.ts';
import {
  type ExecutableMapping,
  listProcesses,
  MAX_EXECUTABLE_MAPPINGS,
  readComm,
  readExecutablePath,
  readMaps,
} from './proc-fs.ts';

/** Where the table goes: the kernel (session/tables.ts). */
export interface ProcessStore {
  /**
   * Writes the mappings of an image. Processes that share them (a child has its parent's) pass the same array: it is
   * written once. Returns false where there is no room.
   */
  setProcess(tgid: number, generation: number, policy: number, mappings: readonly KernelMapping[]): boolean;
  deleteProcess(tgid: number): void;
}

/** A fork, exec or exit, or an address that a walk did not know (samples/decode.ts). */
export interface ProcessEvent {
  readonly kind: 'fork' | 'exec' | 'exit' | 'unknown';
  readonly tgid: number;
  readonly parent: number;
  readonly generation: number;
  /** ns, CLOCK_MONOTONIC. */
  readonly time: number;
  /** `unknown`: the address; 0: the process itself is unknown. */
  readonly address: number;
  readonly comm: string;
}

export interface ProcessTableOptions {
  readonly store: ProcessStore;
  readonly executables: Executables;
  /** The policy of a process: an index of the kernel's policies, 0 for none. Asked when an image begins. */
  readonly selectPolicy: (tgid: number, parent: ProcessImage | undefined) => number;
}

/** How long an image is kept after its end, for samples still to be read: ms. */
const KEEP_ENDED_MS = 30_000;

export class ProcessTable {
  readonly #options: ProcessTableOptions;
  readonly #live = new Map<number, ProcessImage>();
  /** Images that have ended, by (tgid, generation). */
  readonly #ended = new Map<number, ProcessImage>();
  readonly #dirty = new Set<ProcessImage>();
  /** The kernel's entries of a mapping list; children share their parents'. Cleared when an executable settles. */
  #entries = new WeakMap<readonly ImageMapping[], readonly KernelMapping[]>();
  /** The image of each process that ended last, while it is kept: mappings may still be told of it. */
  readonly #lastEnded = new Map<number, ProcessImage>();
  /** When the last COMM record with the exec flag came, by tgid, where the exec event itself has not come yet. */
  readonly #commExec = new Map<number, number>();
  rescans = 0;
  refused = 0;

  constructor(options: ProcessTableOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#live.size;
  }

  values(): IterableIterator<ProcessImage> {
    return this.#live.values();
  }

  /** The running image of a process. */
  get(tgid: number): ProcessImage | undefined {
    return this.#live.get(tgid);
  }

  /** The image that a sample was taken of, also if it has ended meanwhile. */
  image(tgid: number, generation: number): ProcessImage | undefined {
    const live = this.#live.get(tgid);
    return live?.generation === generation ? live : this.#ended.get(imageKey(tgid, generation));
  }

  /** Reads /proc: all processes, or the given ones. Those already known are left alone. */
  scan(pids: readonly number[] = listProcesses()): void {
    for (const pid of pids) if (!this.#live.has(pid)) this.#discover(pid, 0);
  }

  /** Handles an event of the BPF ring. */
  handleEvent(event: ProcessEvent): void {
    switch (event.kind) {
      case 'fork':
        return this.#fork(event);
      case 'exec':
        return this.#exec(event);
      case 'exit':
        return this.#exit(event.tgid);
      case 'unknown':
        return this.#unknown(event);
    }
  }

  /** Handles a record of the perf side-band. */
  handleSideBand(record: SideBandRecord): void {
    if (record.kind === 'mmap2') {
      const image = this.#live.get(record.pid) ?? this.#lastEnded.get(record.pid);
      const mapping: ExecutableMapping = {
        start: record.address,
        end: record.address + record.length,
        offset: record.fileOffset,
        path: record.filename === '//anon' ? '' : record.filename.replace(/ \(deleted\)$/, ''),
        device: `${record.major.toString(16).padStart(2, '0')}:${record.minor.toString(16).padStart(2, '0')}`,
        inode: record.inode,
      };
      if (!image) {
        // Forked before our scan saw it, or of a kernel event that was lost: /proc knows all of it.
        this.#discover(record.pid, 0);
        return;
      }
      if (record.time < image.since && record.time < (this.#commExec.get(record.pid) ?? image.since)) return;
      const alias =
        record.inode !== 0 && mapping.path.startsWith('/')
          ? `${mapping.device}:${record.inode}:${record.inodeGeneration}`
          : undefined;
      if (image.mappings.length >= MAX_EXECUTABLE_MAPPINGS) return;
      const executable = this.#options.executables.find(record.pid, mapping, alias);
      this.#setMappings(image, withMapping(image.mappings, { ...mapping, executable, time: record.time }));
    } else if (record.kind === 'comm' && record.exec) {
      const image = this.#live.get(record.pid) ?? this.#lastEnded.get(record.pid);
      // The address space is new from here on. The exec event itself, which comes over the ring, may have come already:
      if (image && image.generation !== 0 && image.since >= record.time) {
        image.since = record.time;
        return;
      }
      this.#commExec.set(record.pid, record.time);
      if (image) this.#setMappings(image, image.mappings.filter((mapping) => mapping.time >= record.time));
    }
  }

  /** The side-band lost records: what is mapped may not be known any more. */
  rescan(): void {
    this.rescans++;
    for (const image of this.#live.values()) this.#reread(image);
  }

  /** Writes what has changed since the last call. Called once per batch of events. */
  flush(): void {
    for (const image of this.#dirty) {
      if (this.#live.get(image.tgid) !== image) continue;
      let entries = this.#entries.get(image.mappings);
      if (!entries) {
        entries = kernelMappings(image.mappings);
        this.#entries.set(image.mappings, entries);
      }
      if (!this.#options.store.setProcess(image.tgid, image.generation, image.policy, entries)) this.refused++;
    }
    this.#dirty.clear();
  }

  /** An executable's table is there (or will never be): all images that have it mapped are written again. */
  settled(executable: Executable): void {
    const changed = new Set<readonly ImageMapping[]>();
    for (const image of this.#live.values()) {
      if (!changed.has(image.mappings)) {
        if (!image.mappings.some((mapping) => mapping.executable === executable)) continue;
        changed.add(image.mappings);
        this.#entries.delete(image.mappings);
      }
      this.#dirty.add(image);
    }
  }

  /** Asks again for the policy of every process: the selection has changed. */
  reselect(): void {
    for (const image of this.#live.values()) {
      const policy = this.#options.selectPolicy(image.tgid, undefined);
      if (policy === image.policy) continue;
      image.policy = policy;
      this.#dirty.add(image);
    }
  }

  /** Forgets images that ended long enough ago. */
  collect(now = performance.now()): void {
    for (const [key, image] of this.#ended) {
      if (now - (image.endedAt ?? now) < KEEP_ENDED_MS) continue;
      this.#ended.delete(key);
      if (this.#lastEnded.get(image.tgid) === image) this.#lastEnded.delete(image.tgid);
      this.#releaseAll(image.mappings);
    }
  }

  /** How many live images wait for a table. */
  pendingImages(): number {
    let count = 0;
    for (const image of this.#live.values())
      if (image.mappings.some((mapping) => mapping.executable?.state === 'pending')) count++;
    return count;
  }

  #fork(event: ProcessEvent): void {
    const parent = this.#live.get(event.parent);
    this.#end(event.tgid);
    const image = new ProcessImage(event.tgid, event.generation, 0, event.time);
    image.policy = this.#options.selectPolicy(event.tgid, parent);
    image.comm = event.comm;
    this.#live.set(event.tgid, image);
    if (parent) {
      image.path = parent.path;
      image.mappings = parent.mappings;
      this.#retainAll(image.mappings);
      this.#dirty.add(image);
    } else {
      this.#reread(image);
    }
  }

  #exec(event: ProcessEvent): void {
    const old = this.#live.get(event.tgid);
    const commExec = this.#commExec.get(event.tgid);
    this.#commExec.delete(event.tgid);
    const image = new ProcessImage(event.tgid, event.generation, 0, commExec ?? event.time);
    image.comm = event.comm;
    image.policy = this.#options.selectPolicy(event.tgid, old);
    if (old && commExec !== undefined) {
      // The side-band was first: what it told since belongs to the new image.
      image.mappings = old.mappings.filter((mapping) => mapping.time >= commExec);
      this.#retainAll(image.mappings);
    }
    this.#end(event.tgid);
    this.#live.set(event.tgid, image);
    // The main executable, its interpreter and the vDSO are mapped by now.
    this.#reread(image);
  }

  #exit(tgid: number): void {
    this.#end(tgid);
    this.#commExec.delete(tgid);
    this.#options.store.deleteProcess(tgid);
  }

  #end(tgid: number): void {
    const image = this.#live.get(tgid);
    if (!image) return;
    image.endedAt = performance.now();
    this.#live.delete(tgid);
    this.#ended.set(imageKey(tgid, image.generation), image);
    this.#lastEnded.set(tgid, image);
  }

  #unknown(event: ProcessEvent): void {
    const image = this.#live.get(event.tgid);
    if (!image) this.#discover(event.tgid, event.generation);
    else if (event.generation === image.generation) this.#reread(image);
  }

  #discover(pid: number, generation: number): void {
    const mappings = readMaps(pid);
    if (!mappings || this.#live.has(pid)) return;
    const image = new ProcessImage(pid, generation, 0, 0);
    image.policy = this.#options.selectPolicy(pid, undefined);
    image.comm = readComm(pid) ?? '';
    image.path = readExecutablePath(pid);
    this.#live.set(pid, image);
    this.#setMappings(image, this.#resolve(pid, mappings, []));
  }

  /** Makes an image's mappings what /proc says now. */
  #reread(image: ProcessImage): void {
    const mappings = readMaps(image.tgid);
    if (!mappings || mappings.length === 0) return; // gone, or a kernel thread
    image.path = readExecutablePath(image.tgid) ?? image.path;
    this.#setMappings(image, this.#resolve(image.tgid, mappings, image.mappings));
  }

  #resolve(pid: number, mappings: readonly ExecutableMapping[], known: readonly ImageMapping[]): ImageMapping[] {
    const byStart = new Map(known.map((mapping) => [mapping.start, mapping]));
    return mappings.map((mapping) => {
      const same = byStart.get(mapping.start);
      if (same?.executable && same.inode === mapping.inode && same.offset === mapping.offset)
        return { ...mapping, executable: same.executable, time: same.time };
      return { ...mapping, executable: this.#options.executables.find(pid, mapping), time: same?.time ?? 0 };
    });
  }

  #setMappings(image: ProcessImage, mappings: readonly ImageMapping[]): void {
    this.#retainAll(mappings);
    this.#releaseAll(image.mappings);
    image.mappings = mappings;
    this.#dirty.add(image);
  }

  #retainAll(mappings: readonly ImageMapping[]): void {
    for (const { executable } of mappings) if (executable) this.#options.executables.retain(executable);
  }

  #releaseAll(mappings: readonly ImageMapping[]): void {
    for (const { executable } of mappings) if (executable) this.#options.executables.release(executable);
  }
}

/** One number for (tgid, generation): 22 and 31 bits (PID_MAX_LIMIT; abi.h). */
function imageKey(tgid: number, generation: number): number {
  return tgid * 0x8000_0000 + generation;
}
