// SPDX-License-Identifier: Apache-2.0
/**
 * The only writer of the kernel's unwind tables, mappings, processes and policies.
 *
 * What a walk may be reading is never changed in place: new mappings are written beside the old ones, then the process
 * entry, which is replaced as a whole, is pointed at them; freed room is used again only after a grace time that no
 * walk outlasts.
 */
import { type BpfMap, type BpfObject, enums, limits, structs } from '@plumbline/bpf';
import type { FileIdentity } from '../processes/executables.ts';
import type { KernelMapping, KernelMappingKind } from '../processes/kernel-mappings.ts';
import type { UnwindSegment } from '../unwind-table/encode.ts';
import { type Room, ShardAllocator } from './shard-allocator.ts';

/** How long freed room rests, in ms. A walk takes less than one; a forked child's entry is known to us within tens. */
const GRACE_MS = 2_000;

const KIND: Record<KernelMappingKind, number> = {
  table: enums.mapping_kind.MAPPING_TABLE,
  pending: enums.mapping_kind.MAPPING_PENDING,
  noTable: enums.mapping_kind.MAPPING_NO_TABLE,
  anonymous: enums.mapping_kind.MAPPING_ANONYMOUS,
  failed: enums.mapping_kind.MAPPING_FAILED,
};

/** What a policy asks of the walk. */
export interface KernelPolicy {
  readonly maxFrames: number;
  readonly kernelStacks: boolean;
  /** Share of the samples that is kept, from 0 to 1. */
  readonly keep: number;
  /** Whether walks that the agent can finish are spilled to it; default: they are. */
  readonly spill?: boolean;
  /** Share of the walks that the agent walks again as a check, from 0 to 1; default: none. */
  readonly verify?: number;
}

/** Spills of one process: per second on average, and at once. */
const SPILLS_PER_SECOND = 200;
const SPILL_BURST = 400;

/** A run of the map `mappings`, shared by the processes whose mapping list it holds. */
interface Run {
  readonly first: number;
  readonly count: number;
  /** No other run ever has it, though room is used again: what was remembered of walks by other mappings does not count. */
  readonly version: number;
  users: number;
}

interface Written {
  readonly run: Run;
  readonly list: readonly KernelMapping[];
}

export class Tables {
  readonly #mappings: BpfMap;
  readonly #segments: BpfMap;
  readonly #processes: BpfMap;
  readonly #policies: BpfMap;
  readonly #files: BpfMap;
  readonly #shards: BpfMap;
  readonly #newShard: (number: number) => BpfMap;
  readonly #inner: BpfMap[] = [];
  readonly #rooms: ShardAllocator;
  readonly #segmentRooms = new Map<number, Room>();
  readonly #freeSegments: number[] = [];
  #lastSegment = 0;
  readonly #runs: ShardAllocator;
  #lastVersion = 0;
  readonly #runRooms = new Map<Run, Room>();
  readonly #runOf = new WeakMap<readonly KernelMapping[], Run>();
  readonly #written = new Map<number, Written>();
  readonly #maxFrames = new Map<number, number>();
  readonly #fileRuns = new Map<string, Run>();
  /** Room that rests, oldest first: when it may be used again, and how to give it back. */
  readonly #resting: { readonly until: number; readonly give: () => void }[] = [];

  constructor(object: BpfObject, newShard: (number: number) => BpfMap) {
    this.#mappings = object.map('mappings');
    this.#segments = object.map('segments');
    this.#processes = object.map('processes');
    this.#policies = object.map('policies');
    this.#files = object.map('files');
    this.#shards = object.map('shards');
    this.#newShard = newShard;
    this.#rooms = new ShardAllocator(limits.SHARD_SIZE, limits.MAX_SHARDS);
    this.#runs = new ShardAllocator(limits.MAX_MAPPINGS * 16, 1); // 16 bytes, the allocator's unit, stand for one entry
  }

  /** Used and possible sizes, for metrics. */
  get usage() {
    return {
      tableBytes: this.#rooms.usedBytes,
      tableCapacityBytes: this.#rooms.capacityBytes,
      segments: this.#segmentRooms.size,
      segmentCapacity: limits.MAX_SEGMENTS,
      mappings: this.#runs.usedBytes / 16,
      mappingCapacity: limits.MAX_MAPPINGS,
      processes: this.#written.size,
      processCapacity: limits.MAX_PROCESSES,
    };
  }

  addSegment(segment: UnwindSegment): number | undefined {
    this.#giveBack();
    const number = this.#freeSegments.pop() ?? this.#lastSegment++;
    const rulesAt = align16(segment.index.byteLength + segment.rows.byteLength);
    const room = number < limits.MAX_SEGMENTS ? this.#rooms.allocate(rulesAt + segment.rules.byteLength) : undefined;
    if (!room) {
      this.#freeSegments.push(number);
      return undefined;
    }
    const bytes = new Uint8Array(rulesAt + segment.rules.byteLength);
    bytes.set(bytesOf(segment.index), 0);
    bytes.set(bytesOf(segment.rows), segment.index.byteLength);
    bytes.set(segment.rules, rulesAt);
    this.#shard(room.shard).write(room.offset, bytes);

    const { size, offsets } = structs.unwind_segment;
    const value = new DataView(new ArrayBuffer(size));
    value.setUint32(offsets.shard, room.shard, true);
    value.setUint32(offsets.index_offset, room.offset, true);
    value.setUint32(offsets.rows_offset, room.offset + segment.index.byteLength, true);
    value.setUint32(offsets.rules_offset, room.offset + rulesAt, true);
    value.setUint32(offsets.blocks, segment.index.length - 1, true);
    value.setUint32(offsets.rows, segment.rows.length, true);
    value.setUint32(offsets.rules, segment.rules.byteLength / structs.unwind_rule.size, true);
    this.#segments.update(number, new Uint8Array(value.buffer));
    this.#segmentRooms.set(number, room);
    return number;
  }

  /** The `struct unwind_rule` in force at an offset in the text of a segment, found as the kernel side finds it. */
  findRule(number: number, offset: number): Uint8Array | undefined {
    const value = this.#segmentRooms.has(number) ? this.#segments.lookup(number) : undefined;
    if (!value) return undefined;
    const { offsets } = structs.unwind_segment;
    const field = (at: number) => value.readUInt32LE(at);
    const shard = this.#inner[field(offsets.shard)];
    const block = Math.floor(offset / limits.UNWIND_BLOCK);
    if (!shard || !(block >= 0 && block < field(offsets.blocks))) return undefined;
    const index = shard.read(field(offsets.index_offset) + 4 * block, 8);
    const [first, last] = [index.readUInt32LE(0), index.readUInt32LE(4)];
    // The row before the block's first one holds until that begins.
    const from = Math.max(0, first - 1);
    const rows = shard.read(field(offsets.rows_offset) + 4 * from, 4 * (last - from));
    const inside = offset % limits.UNWIND_BLOCK;
    let row = first > 0 ? 0 : -1;
    for (let i = first - from; i < last - from && rows.readUInt16LE(4 * i + 2) <= inside; i++) row = i;
    if (row < 0) return undefined;
    const { size } = structs.unwind_rule;
    return shard.read(field(offsets.rules_offset) + size * rows.readUInt16LE(4 * row), size);
  }

  removeSegment(number: number): void {
    const room = this.#segmentRooms.get(number);
    if (!room) return;
    this.#segmentRooms.delete(number);
    this.#rest(() => {
      this.#rooms.free(room);
      this.#freeSegments.push(number);
    });
  }

  setProcess(tgid: number, generation: number, policy: number, list: readonly KernelMapping[]): boolean {
    this.#giveBack();
    const before = this.#written.get(tgid);
    let run: Run | undefined;
    if (before?.list === list) {
      run = before.run;
    } else {
      run = this.#runOf.get(list);
      if (!run || run.users === 0) run = this.#writeRun(list);
      if (!run) return false;
      run.users++;
      this.#runOf.set(list, run);
    }
    const { size, offsets } = structs.process;
    const value = new DataView(new ArrayBuffer(size));
    value.setUint32(offsets.first, run.first, true);
    value.setUint32(offsets.count, run.count, true);
    value.setUint32(offsets.generation, generation, true);
    value.setUint32(offsets.version, run.version, true);
    value.setUint16(offsets.policy, policy, true);
    this.#processes.update(tgid, new Uint8Array(value.buffer));
    this.#written.set(tgid, { run, list });
    if (before && before.run !== run) this.#leave(before.run);
    return true;
  }

  deleteProcess(tgid: number): void {
    const before = this.#written.get(tgid);
    this.#written.delete(tgid);
    if (before) this.#leave(before.run);
    // The kernel side deletes it at exit already; we may have written it again since.
    this.#processes.delete(tgid);
  }

  setFile(identity: FileIdentity, list: readonly KernelMapping[]): void {
    if (this.#fileRuns.size >= limits.MAX_FILES) return; // walked once the process is known, then
    const run = this.#writeRun(list);
    if (!run) return;
    run.users++;
    const key = fileKey(identity);
    const { size, offsets } = structs.file_tables;
    const value = new DataView(new ArrayBuffer(size));
    value.setUint32(offsets.first, run.first, true);
    value.setUint32(offsets.count, run.count, true);
    this.#files.update(key, new Uint8Array(value.buffer));
    const name = key.toString('hex');
    const before = this.#fileRuns.get(name);
    this.#fileRuns.set(name, run);
    if (before) this.#leave(before);
  }

  deleteFile(identity: FileIdentity): void {
    const key = fileKey(identity);
    const name = key.toString('hex');
    const run = this.#fileRuns.get(name);
    if (!run) return;
    this.#files.delete(key);
    this.#fileRuns.delete(name);
    this.#leave(run);
  }

  /** Frames that a policy keeps of a stack. */
  maxFrames(policy: number): number {
    return this.#maxFrames.get(policy) ?? limits.MAX_USER_FRAMES;
  }

  setPolicy(number: number, policy: KernelPolicy): void {
    this.#maxFrames.set(number, policy.maxFrames);
    const { size, offsets } = structs.policy;
    const value = new DataView(new ArrayBuffer(size));
    value.setUint32(offsets.max_frames, policy.maxFrames, true);
    const { kernelStacks, spill = true, keep, verify = 0 } = policy;
    const flags = (kernelStacks ? limits.POLICY_KERNEL_STACK : 0) | (spill ? limits.POLICY_SPILL : 0);
    value.setUint32(offsets.flags, flags, true);
    value.setUint32(offsets.keep, keep >= 1 ? 0 : Math.max(1, Math.round(keep * 2 ** 32)), true);
    value.setUint32(offsets.verify, Math.min(2 ** 32 - 1, Math.round(verify * 2 ** 32)), true);
    value.setUint32(offsets.spill_interval, 1e6 / SPILLS_PER_SECOND, true);
    value.setUint32(offsets.spill_burst, SPILL_BURST, true);
    this.#policies.update(number, new Uint8Array(value.buffer));
  }

  #writeRun(list: readonly KernelMapping[]): Run | undefined {
    const room = this.#runs.allocate(16 * Math.max(1, list.length));
    if (!room) return undefined;
    const run: Run = { first: room.offset / 16, count: list.length, version: ++this.#lastVersion, users: 0 };
    this.#runRooms.set(run, room);
    const { size, offsets } = structs.mapping;
    const values = new DataView(new ArrayBuffer(size * list.length));
    const keys = new Uint32Array(list.length);
    for (let i = 0; i < list.length; i++) {
      const mapping = list[i];
      const at = i * size;
      keys[i] = run.first + i;
      setU64(values, at + offsets.start, mapping.start);
      setU64(values, at + offsets.end, mapping.end);
      // The segment may begin below address 0 of a low mapping's own bias only in theory: two's complement all the same.
      values.setBigInt64(at + offsets.base, BigInt(mapping.base), true);
      values.setUint32(at + offsets.segment, mapping.segment, true);
      values.setUint32(at + offsets.kind, KIND[mapping.kind], true);
    }
    if (list.length > 0) this.#mappings.updateBatch(keys, new Uint8Array(values.buffer), list.length);
    return run;
  }

  #leave(run: Run): void {
    if (--run.users > 0) return;
    this.#rest(() => {
      const room = this.#runRooms.get(run);
      // A process with the same list may have come while it rested.
      if (!room || run.users > 0) return;
      this.#runRooms.delete(run);
      this.#runs.free(room);
    });
  }

  #shard(number: number): BpfMap {
    for (let next = this.#inner.length; next <= number; next++) {
      const shard = this.#newShard(next);
      this.#shards.update(next, shard);
      this.#inner.push(shard);
    }
    return this.#inner[number];
  }

  #rest(give: () => void): void {
    this.#resting.push({ until: performance.now() + GRACE_MS, give });
  }

  #giveBack(): void {
    const now = performance.now();
    let ready = 0;
    while (ready < this.#resting.length && this.#resting[ready].until <= now) ready++;
    for (const { give } of this.#resting.splice(0, ready)) give();
  }
}

/** A `struct file_key`. */
function fileKey({ major, minor, inode, inodeGeneration }: FileIdentity): Buffer {
  const { size, offsets } = structs.file_key;
  const key = new DataView(new ArrayBuffer(size));
  key.setBigUint64(offsets.inode, inode, true);
  key.setUint32(offsets.device, major * 2 ** 20 + minor, true); // MKDEV of include/linux/kdev_t.h
  key.setUint32(offsets.inode_generation, inodeGeneration, true);
  return Buffer.from(key.buffer);
}

function align16(bytes: number): number {
  return Math.ceil(bytes / 16) * 16;
}

function bytesOf(array: Uint32Array): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}

function setU64(view: DataView, offset: number, value: number): void {
  view.setUint32(offset, value >>> 0, true);
  view.setUint32(offset + 4, Math.floor(value / 2 ** 32), true);
}
