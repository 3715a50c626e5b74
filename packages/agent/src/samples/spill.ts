// SPDX-License-Identifier: Apache-2.0
/** A frame from which the agent walks on (`struct spill` of abi.h). Holds raw stack memory: it is dropped right after use. */
import { enums, limits, structs } from '@plumbline/bpf';

const SPILL = structs.spill.offsets;
const { REG_COUNT } = enums.reg;

export interface Spill {
  readonly tgid: number;
  readonly tid: number;
  readonly generation: number;
  /** Of the sample that it belongs to: ns, CLOCK_MONOTONIC. */
  readonly time: number;
  /** The leaf of a walk that is to be verified; else the frame at which a walk has stopped. */
  readonly isLeaf: boolean;
  /** Index of the frame among the user frames of the sample. */
  readonly frame: number;
  /** How many user frames the sample may have. */
  readonly maxFrames: number;
  readonly pc: number;
  /** `pc` was interrupted; else it is a return address. */
  readonly exact: boolean;
  /** The 8 bytes of code at `pc`, where that was interrupted; empty: not known. */
  readonly code: Uint8Array<ArrayBuffer>;
  /** By DWARF number; undefined: not known. */
  readonly registers: readonly (bigint | undefined)[];
  /** Runtime address of the first byte of `stack`. */
  readonly stackStart: bigint;
  /** A copy. */
  readonly stack: Uint8Array<ArrayBuffer>;
}

/** Decodes the record at [offset, offset + length). Undefined: a length that no program of ours writes. */
export function decodeSpill(view: DataView, offset: number, length: number): Spill | undefined {
  const { size } = structs.spill;
  if (length < size) return undefined;
  const u32 = (at: number) => view.getUint32(offset + at, true);
  const u64 = (at: number) => u32(at) + u32(at + 4) * 2 ** 32;
  const bytes = u32(SPILL.length);
  if (bytes > limits.MAX_SPILL || size + bytes > length) return undefined;
  const known = u32(SPILL.known);
  const flags = view.getUint8(offset + SPILL.flags);
  const codeAt = view.byteOffset + offset + SPILL.code;
  const code = new Uint8Array(view.buffer as ArrayBuffer, codeAt, 8).slice();
  const from = view.byteOffset + offset + size;
  return {
    tgid: u32(SPILL.tgid),
    tid: u32(SPILL.tid),
    generation: u32(SPILL.generation),
    time: u64(SPILL.time),
    isLeaf: (flags & limits.SPILL_VERIFY) !== 0,
    frame: u32(SPILL.frame),
    maxFrames: u32(SPILL.max_frames),
    pc: u64(SPILL.pc),
    exact: (flags & limits.SPILL_EXACT) !== 0,
    code: code.some((byte) => byte !== 0) ? code : code.subarray(8),
    registers: Array.from({ length: REG_COUNT }, (_, i) =>
      (known >>> i) & 1 ? view.getBigUint64(offset + SPILL.registers + 8 * i, true) : undefined,
    ),
    stackStart: view.getBigUint64(offset + SPILL.start, true),
    stack: new Uint8Array(view.buffer as ArrayBuffer, from, bytes).slice(),
  };
}
