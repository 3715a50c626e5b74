// SPDX-License-Identifier: Apache-2.0
/**
 * Decodes perf's side-band records: what happens to processes and their executable mappings.
 * Source: enum perf_event_type of include/uapi/linux/perf_event.h; the events are opened by `PerfEvent` with
 * `sideBand`, so each record ends with the thread, the time and the CPU that it was written by.
 */
import type { EventBatch } from './event-reader.ts';

interface Written {
  /** Thread group and thread that wrote the record. */
  readonly pid: number;
  readonly tid: number;
  /** ns, CLOCK_MONOTONIC: the clock of `bpf_ktime_get_ns`. */
  readonly time: bigint;
  readonly cpu: number;
}

/**
 * A mapping became executable memory of the process: mmap(2) with PROT_EXEC, by exec, the dynamic loader, dlopen or a
 * JIT.
 */
export interface MappingRecord extends Written {
  readonly type: 'mapping';
  readonly start: bigint;
  readonly end: bigint;
  /** Bytes from the start of the file. */
  readonly fileOffset: bigint;
  readonly deviceMajor: number;
  readonly deviceMinor: number;
  readonly inode: bigint;
  readonly inodeGeneration: bigint;
  /** PROT_*, MAP_*. */
  readonly protection: number;
  readonly flags: number;
  /** Path as the process's mount namespace names it; or `[vdso]`, `//anon`, `/memfd:...`. */
  readonly file: string;
}

export type SideBandRecord =
  | MappingRecord
  /** A new image: all mappings of before are gone. */
  | (Written & { readonly type: 'exec'; readonly name: string })
  | (Written & { readonly type: 'rename'; readonly name: string })
  /** A new process (`childPid` differs from `parentPid`) or thread. */
  | (Written & {
      readonly type: 'fork';
      readonly childPid: number;
      readonly childTid: number;
      readonly parentPid: number;
      readonly parentTid: number;
    })
  /** A thread ended: the process did when `exitTid` is its last. */
  | (Written & { readonly type: 'exit'; readonly exitPid: number; readonly exitTid: number })
  /** The CPU's ring was full, and so many records were not written. */
  | (Written & { readonly type: 'lost'; readonly records: bigint })
  /** Well-formed, but not asked for; to be ignored. */
  | (Written & { readonly type: 'other'; readonly number: number })
  | { readonly type: 'malformed'; readonly reason: string };

const TYPE = { mmap: 1, lost: 2, comm: 3, exit: 4, fork: 7, mmap2: 10 } as const;
const MISC_COMM_EXEC = 1 << 13;
const MISC_MMAP_BUILD_ID = 1 << 14;
const HEADER_SIZE = 8;
/** u32 pid, tid; u64 time; u32 cpu, reserved. */
const TRAILER_SIZE = 24;
/** Bytes between header and trailer, or before the name. */
const BODY_SIZE: Record<number, number> = {
  [TYPE.lost]: 16,
  [TYPE.comm]: 8,
  [TYPE.exit]: 24,
  [TYPE.fork]: 24,
  [TYPE.mmap2]: 64,
};

/**
 * @param records bytes that hold the record, e.g. of an `EventBatch`
 * @param start where it starts
 * @param end where it ends at the latest
 */
export function decodeSideBand(records: Buffer, start: number, end: number): SideBandRecord {
  if (end > records.length || end - start < HEADER_SIZE) return { type: 'malformed', reason: 'shorter than a header' };
  const number = records.readUInt32LE(start);
  const misc = records.readUInt16LE(start + 4);
  const size = records.readUInt16LE(start + 6);
  const body = start + HEADER_SIZE;
  if (size < HEADER_SIZE + TRAILER_SIZE || size > end - start)
    return { type: 'malformed', reason: `size ${size} does not fit` };
  const trailer = start + size - TRAILER_SIZE;
  if (trailer - body < (BODY_SIZE[number] ?? 0))
    return { type: 'malformed', reason: `type ${number} is cut off at ${size} bytes` };
  const written = {
    pid: records.readUInt32LE(trailer),
    tid: records.readUInt32LE(trailer + 4),
    time: records.readBigUInt64LE(trailer + 8),
    cpu: records.readUInt32LE(trailer + 16),
  };
  switch (number) {
    case TYPE.mmap2: {
      // With a build id in place of device and inode, which is not asked for, the file would be known by its name
      // alone.
      const byBuildId = (misc & MISC_MMAP_BUILD_ID) !== 0;
      const address = records.readBigUInt64LE(body + 8);
      return {
        type: 'mapping',
        ...written,
        pid: records.readUInt32LE(body),
        tid: records.readUInt32LE(body + 4),
        start: address,
        end: BigInt.asUintN(64, address + records.readBigUInt64LE(body + 16)),
        fileOffset: records.readBigUInt64LE(body + 24),
        deviceMajor: byBuildId ? 0 : records.readUInt32LE(body + 32),
        deviceMinor: byBuildId ? 0 : records.readUInt32LE(body + 36),
        inode: byBuildId ? 0n : records.readBigUInt64LE(body + 40),
        inodeGeneration: byBuildId ? 0n : records.readBigUInt64LE(body + 48),
        protection: records.readUInt32LE(body + 56),
        flags: records.readUInt32LE(body + 60),
        file: readText(records, body + BODY_SIZE[number], trailer),
      };
    }
    case TYPE.comm: {
      const type = misc & MISC_COMM_EXEC ? 'exec' : 'rename';
      return {
        type,
        ...written,
        pid: records.readUInt32LE(body),
        tid: records.readUInt32LE(body + 4),
        name: readText(records, body + BODY_SIZE[number], trailer),
      };
    }
    case TYPE.fork:
      return {
        type: 'fork',
        ...written,
        childPid: records.readUInt32LE(body),
        parentPid: records.readUInt32LE(body + 4),
        childTid: records.readUInt32LE(body + 8),
        parentTid: records.readUInt32LE(body + 12),
      };
    case TYPE.exit:
      return { type: 'exit', ...written, exitPid: records.readUInt32LE(body), exitTid: records.readUInt32LE(body + 8) };
    case TYPE.lost:
      return { type: 'lost', ...written, records: records.readBigUInt64LE(body + 8) };
    default:
      return { type: 'other', ...written, number };
  }
}

/** All records of a batch of kind `sideBand`, in their order. */
export function* decodeSideBandBatch({ records, offsets, count }: EventBatch): Generator<SideBandRecord> {
  for (let i = 0; i < count; i++) yield decodeSideBand(records, offsets[i], offsets[i + 1]);
}

/** A string that ends at its first zero byte, or at `end`. */
function readText(bytes: Buffer, start: number, end: number): string {
  const zero = bytes.indexOf(0, start);
  return bytes.toString('utf8', start, zero < 0 || zero > end ? end : zero);
}
