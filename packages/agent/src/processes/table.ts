// SPDX-License-Identifier: Apache-2.0
/**
 * The processes of the machine and what they have mapped, kept from /proc at the start and from kernel events since:
 * fork, exec and exit come over the BPF ring in the order of the samples; new mappings come over the perf side-band.
 * The kernel side walks with what this table writes through `ProcessStore`.
 */
import type { MappingRecord, SideBandRecord } from '@plumbline/bpf';
import type { Executable } from './executable.ts';
import type { Executables } from './executables.ts';
import { type KernelMapping, kernelMappings } from './kernel-mappings.ts';
import {
  type ExecutableMapping,
  listProcesses,
  MAX_EXECUTABLE_MAPPINGS,
  readComm,
  readExecutablePath,
  readMaps,
} from './proc-fs.ts';
import { type ImageMapping, ProcessImage, withMapping } from './process-image.ts';

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
  /**
   * A process that has begun meanwhile is in the store with the tables of all that it has mapped so far: called once per
   * fork or exec, with the time since then.
   */
  readonly onReady?: (seconds: number) => void;
}

interface Announcement {
  readonly kind: 'fork' | 'exec';
  readonly image: ProcessImage;
}

/** Policy that stands for one that is not known: what the process has mapped is looked for at once. */
const LIKELY_SELECTED = 1;
/** What the kernel is told of processes that no rule selects: that they are known. */
const NOTHING: readonly KernelMapping[] = [];

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
  /** Images whose fork or exec the side-band has told of, and the ring not yet; by tgid, oldest first. */
  readonly #announced = new Map<number, Announcement[]>();
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

  /**
   * Handles a record of the perf side-band. It comes before the ring's event of the same fork or exec, which brings the
   * generation: until then the image that it begins is only announced, and collects its mappings.
   */
  handleSideBand(record: SideBandRecord): void {
    switch (record.type) {
      case 'mapping':
        return this.#mapped(record);
      case 'fork': {
        if (record.childPid === record.parentPid) return; // a thread
        const parent = this.#latest(record.parentPid);
        return this.#announce(record.childPid, 'fork', Number(record.time), parent?.mappings ?? [], parent);
      }
      case 'exec':
        return this.#announce(record.pid, 'exec', Number(record.time), [], this.#latest(record.pid));
      default:
        return;
    }
  }

  #announce(
    tgid: number,
    kind: 'fork' | 'exec',
    time: number,
    mappings: readonly ImageMapping[],
    before: ProcessImage | undefined,
  ): void {
    // Its policy is not known yet; most often it is that of the image before.
    const image = new ProcessImage(tgid, 0, before ? before.policy : LIKELY_SELECTED, time);
    image.mappings = mappings;
    this.#retainAll(mappings);
    const queue = this.#announced.get(tgid);
    if (queue) queue.push({ kind, image });
    else this.#announced.set(tgid, [{ kind, image }]);
  }

  /** The image that began last, be it only announced. */
  #latest(tgid: number): ProcessImage | undefined {
    return this.#announced.get(tgid)?.at(-1)?.image ?? this.#live.get(tgid) ?? this.#lastEnded.get(tgid);
  }

  /** The image that the side-band announced for an event of the ring; those before it have become of no interest. */
  #takeAnnounced(tgid: number, kind: 'fork' | 'exec', time: number): ProcessImage | undefined {
    const queue = this.#announced.get(tgid);
    if (!queue) return undefined;
    let taken: ProcessImage | undefined;
    while (queue.length > 0 && queue[0].image.since <= time) {
      const { kind: announced, image } = queue.shift() as Announcement;
      if (announced === kind) {
        taken = image;
        break;
      }
      this.#releaseAll(image.mappings);
    }
    if (queue.length === 0) this.#announced.delete(tgid);
    return taken;
  }

  #mapped(record: MappingRecord): void {
    const image = this.#latest(record.pid);
    if (!image) {
      this.#discover(record.pid, 0); // it came before us, and our scan has missed it
      return;
    }
    if (image.policy === 0 || image.mappings.length >= MAX_EXECUTABLE_MAPPINGS) return;
    const anonymous = record.file === '//anon';
    const mapping: ExecutableMapping = {
      start: Number(record.start),
      end: Number(record.end),
      offset: Number(record.fileOffset),
      path: anonymous ? '' : record.file.replace(/ \(deleted\)$/, ''),
      device: `${record.deviceMajor.toString(16).padStart(2, '0')}:${record.deviceMinor.toString(16).padStart(2, '0')}`,
      inode: Number(record.inode),
    };
    const identity = mapping.path.startsWith('/')
      ? {
          major: record.deviceMajor,
          minor: record.deviceMinor,
          inode: record.inode,
          inodeGeneration: Number(record.inodeGeneration),
        }
      : undefined;
    const executable = this.#options.executables.find(record.pid, mapping, identity);
    this.#setMappings(image, withMapping(image.mappings, { ...mapping, executable }));
  }

  /** The side-band lost records: what is mapped may not be known any more. */
  rescan(): void {
    this.rescans++;
    for (const image of this.#live.values()) if (image.policy !== 0) this.#reread(image);
  }

  /** Writes what has changed since the last call. Called once per batch of events. */
  flush(): void {
    for (const image of this.#dirty) {
      if (this.#live.get(image.tgid) !== image) continue;
      let entries = image.policy === 0 ? NOTHING : this.#entries.get(image.mappings);
      if (!entries) {
        entries = kernelMappings(image.mappings);
        this.#entries.set(image.mappings, entries);
      }
      if (!this.#options.store.setProcess(image.tgid, image.generation, image.policy, entries)) this.refused++;
      else if (!image.wasReady) this.#noteReady(image);
    }
    this.#dirty.clear();
  }

  #noteReady(image: ProcessImage): void {
    const { since, policy, mappings } = image;
    if (policy === 0 || mappings.length === 0) return;
    if (mappings.some(({ executable }) => executable?.state === 'pending')) return;
    image.wasReady = true;
    if (since > 0) this.#options.onReady?.(Math.max(0, (monotonicNs() - since) / 1e9));
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
      // Of processes that no rule selects nothing is known; what is known of one that no longer is serves its last samples.
      const isNew = image.policy === 0;
      image.policy = policy;
      this.#dirty.add(image);
      if (isNew) this.#reread(image);
    }
  }

  /** Forgets images that ended long enough ago. */
  collect(now = performance.now()): void {
    const begun = monotonicNs() - KEEP_ENDED_MS * 1e6;
    // Announced, but the event was lost: the ring was full.
    for (const [tgid, queue] of this.#announced)
      if (!this.#live.has(tgid) && queue.every(({ image }) => image.since < begun)) {
        for (const { image } of queue) this.#releaseAll(image.mappings);
        this.#announced.delete(tgid);
      }
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
    this.#begin(event, parent, this.#takeAnnounced(event.tgid, 'fork', event.time), parent?.mappings);
  }

  #exec(event: ProcessEvent): void {
    const before = this.#live.get(event.tgid);
    this.#begin(event, before, this.#takeAnnounced(event.tgid, 'exec', event.time), undefined);
  }

  /** An image begins; its mappings are those announced, else those inherited, else what /proc says. */
  #begin(
    event: ProcessEvent,
    parent: ProcessImage | undefined,
    announced: ProcessImage | undefined,
    inherited: readonly ImageMapping[] | undefined,
  ): void {
    const image = new ProcessImage(event.tgid, event.generation, 0, event.time);
    image.policy = this.#options.selectPolicy(event.tgid, parent);
    image.comm = event.comm;
    if (event.kind === 'fork') image.path = parent?.path;
    const mappings = announced?.mappings ?? inherited;
    if (mappings && image.policy !== 0) {
      image.mappings = mappings;
      this.#retainAll(mappings);
    }
    if (announced) this.#releaseAll(announced.mappings);
    this.#end(event.tgid);
    this.#live.set(event.tgid, image);
    this.#dirty.add(image);
    if (image.policy === 0) return;
    if (image.mappings.length === 0) this.#reread(image);
    else if (event.kind === 'exec') image.path = readExecutablePath(event.tgid) ?? mainPath(image.mappings);
  }

  #exit(tgid: number): void {
    this.#end(tgid);
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
    const comm = readComm(pid);
    if (comm === undefined || this.#live.has(pid)) return;
    const image = new ProcessImage(pid, generation, this.#options.selectPolicy(pid, undefined), 0);
    image.comm = comm;
    if (image.policy === 0) {
      this.#live.set(pid, image);
      this.#dirty.add(image);
      return;
    }
    const mappings = readMaps(pid);
    if (!mappings) return;
    image.path = readExecutablePath(pid);
    this.#live.set(pid, image);
    this.#setMappings(image, this.#resolve(image, mappings));
  }

  /** Makes an image's mappings what /proc says now. */
  #reread(image: ProcessImage): void {
    const mappings = readMaps(image.tgid);
    if (!mappings || mappings.length === 0) return; // gone, or a kernel thread
    image.path = readExecutablePath(image.tgid) ?? image.path;
    this.#setMappings(image, this.#resolve(image, mappings));
  }

  #resolve(image: ProcessImage, mappings: readonly ExecutableMapping[]): ImageMapping[] {
    const byStart = new Map(image.mappings.map((mapping) => [mapping.start, mapping]));
    return mappings.map((mapping) => {
      const same = byStart.get(mapping.start);
      if (same?.executable && same.inode === mapping.inode && same.offset === mapping.offset)
        return { ...mapping, executable: same.executable };
      return { ...mapping, executable: this.#options.executables.find(image.tgid, mapping) };
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

/** The main program of an image whose /proc is gone: what the kernel maps first, before the dynamic linker. */
function mainPath(mappings: readonly ImageMapping[]): string | undefined {
  return mappings.find(({ path }) => path.startsWith('/') && !path.includes('/ld-'))?.path;
}

/** CLOCK_MONOTONIC, as kernel events carry it: ns. `performance.now()` begins with this process. */
function monotonicNs(): number {
  return Number(process.hrtime.bigint());
}

/** One number for (tgid, generation): 22 and 31 bits (PID_MAX_LIMIT; abi.h). */
function imageKey(tgid: number, generation: number): number {
  return tgid * 0x8000_0000 + generation;
}
