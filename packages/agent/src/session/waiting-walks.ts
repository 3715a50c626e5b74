// SPDX-License-Identifier: Apache-2.0
/**
 * Strategy deferred, when sampling has ended: tasks that were asked for a walk and have not come back to user space, for they
 * wait in a system call or for a CPU. Their registers were noted and their stacks do not change until they come.
 */
import { closeSync, openSync, readSync } from 'node:fs';
import { type BpfMap, enums, limits, structs } from '@plumbline/bpf';
import type { Spill } from '../samples/spill.ts';

const NOTED = structs.noted_walk.offsets;
const { REG_COUNT, REG_RSP } = enums.reg;
/** Bytes of stack that are read: as large as stacks mostly may become. Little of it is in use, mostly. */
const MAX_STACK = 8 << 20;
const CHUNK = 64 << 10;
/** What may lie below the stack pointer: System V ABI, AMD64 supplement, 3.2.2. */
const RED_ZONE = 128;
const CODE_BYTES = 8;

/** Names a walk, with the process that it is of. */
export interface WaitingWalk {
  readonly tgid: number;
  readonly tid: number;
  /** See SampleHead. */
  readonly walk: number;
}

/** Copies the stack of a task that still waits. Undefined: it does not any more, or its memory cannot be read. */
export function readWaitingWalk(map: BpfMap, { tgid, tid, walk }: WaitingWalk, maxFrames: number): Spill | undefined {
  const noted = findNote(map, tid, walk);
  if (!noted) return undefined;
  const registers = Array.from({ length: REG_COUNT }, (_, i) => noted.getBigUint64(NOTED.registers + 8 * i, true));
  const pc = Number(noted.getBigUint64(NOTED.pc, true));
  const stackStart = registers[REG_RSP] - BigInt(RED_ZONE);
  let stack: Uint8Array<ArrayBuffer>;
  let code: Uint8Array<ArrayBuffer>;
  try {
    const memory = openSync(`/proc/${tgid}/mem`, 'r');
    try {
      stack = readBytes(memory, Number(stackStart), MAX_STACK);
      code = readBytes(memory, pc, CODE_BYTES);
    } finally {
      closeSync(memory);
    }
  } catch {
    return undefined; // it has ended, or this process may not
  }
  // Only if the task waits still was the stack the same all the while.
  if (!findNote(map, tid, walk)) return undefined;
  return {
    ...{ tgid, tid, generation: noted.getUint32(NOTED.generation, true), time: walk, isLeaf: false, frame: 0 },
    ...{ maxFrames, pc, exact: true, code: code.length === CODE_BYTES ? code : code.subarray(0, 0) },
    ...{ registers, stackStart, stack },
  };
}

/** The `struct noted_walk` of a walk that is waited for. */
function findNote(map: BpfMap, tid: number, walk: number): DataView | undefined {
  const places = 2 ** limits.DEFERRED_WALKS_SHIFT;
  const first = Math.imul(tid, 0x9e3779b1) >>> (32 - limits.DEFERRED_WALKS_SHIFT);
  for (let i = 0; i < limits.DEFERRED_PROBES; i++) {
    const value = map.lookup((first + i) % places);
    if (!value) return undefined;
    const { buffer, byteOffset } = value;
    const noted = new DataView(buffer, byteOffset + limits.NOTED_WALK_OFFSET, structs.noted_walk.size);
    if (noted.getUint32(NOTED.tid, true) !== tid) continue;
    const waits = noted.getUint32(NOTED.samples, true) > 0 && Number(noted.getBigUint64(NOTED.time, true)) === walk;
    return waits ? noted : undefined;
  }
  return undefined;
}

/** How many bytes were read: none where the address is not mapped. */
function readSome(memory: number, into: Uint8Array, address: number): number {
  try {
    return readSync(memory, into, 0, into.length, address);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EIO') return 0;
    throw error;
  }
}

/** As many bytes as there are from an address on, up to `limit`. */
function readBytes(memory: number, address: number, limit: number): Uint8Array<ArrayBuffer> {
  let bytes = new Uint8Array(Math.min(limit, CHUNK));
  let length = 0;
  for (;;) {
    length += readSome(memory, bytes.subarray(length), address + length);
    if (length < bytes.length || length === limit) return bytes.slice(0, length);
    const larger = new Uint8Array(Math.min(limit, 4 * length));
    larger.set(bytes);
    bytes = larger;
  }
}
