// SPDX-License-Identifier: Apache-2.0
/** The records of the BPF ring (abi.h), as the addon hands them over: bytes in, values out. */
import { enums, limits, reasons, structs } from '@plumbline/bpf';
import type { ProcessEvent } from '../processes/table.ts';
import { decodeSpill, type Spill } from './spill.ts';

const { record_type } = enums;
const SAMPLE = structs.sample.offsets;
const EVENT = structs.process_event.offsets;

/** Names of the reasons by number. */
export const reasonNames: readonly (string | undefined)[] = Array.from(
  { length: limits.REASON_MAX },
  (_, number) => reasons.find((reason) => reason.number === number)?.name,
);
/** Names of the outcomes by the number of the reason. */
export const outcomeNames: readonly (string | undefined)[] = Array.from(
  { length: limits.REASON_MAX },
  (_, number) => reasons.find((reason) => reason.number === number)?.outcome,
);

/** Bits of `Stack.userFlags`. */
export const EXACT = 1;
export const BY_POINTER = 2;

/** One distinct stack of one process image. */
export interface Stack {
  /** 53 bits of the kernel's hash of image, reason and frames. */
  readonly key: number;
  readonly tgid: number;
  readonly generation: number;
  /** Number of the list of reasons. */
  readonly reason: number;
  readonly strategy: number;
  readonly policy: number;
  readonly inKernel: boolean;
  readonly kernelClipped: boolean;
  readonly steps: number;
  readonly tailCalls: number;
  readonly cgroup: bigint;
  /** Truncated stacks: the user address at which the walk stopped; else 0. */
  readonly failingPc: number;
  /** Kernel addresses, leaf first. */
  readonly kernel: BigUint64Array;
  /** User addresses, leaf first, and for each EXACT, BY_POINTER. */
  readonly user: Float64Array;
  readonly userFlags: Uint8Array;
  /** User frames that were left out between `user[elidedAt - 1]` and `user[elidedAt]`; 0: none. */
  readonly elided: number;
  readonly elidedAt: number;
  /** User frames that the kernel side took from the last walk of the thread, each verified. */
  readonly spliced: number;
}

/** What each sample says for itself, whether its stack came with it or before. */
export interface SampleHead {
  readonly key: number;
  readonly tid: number;
  readonly comm: string;
  /** ns, CLOCK_MONOTONIC. */
  readonly time: number;
  readonly cpu: number;
  /** Number of the list of reasons. */
  readonly reason: number;
  /** A spill of the same thread and time came before. */
  readonly spilled: boolean;
  /** Strategy deferred: it is all but the user frames of a sample, or the user frames alone (samples/joiner.ts). */
  readonly part?: 'kernel' | 'user';
  /** Names, with `tid`, the walk that the parts belong to; else 0. */
  readonly walk: number;
}

export type DecodedRecord =
  | { readonly kind: 'sample'; readonly head: SampleHead; readonly stack: Stack | undefined }
  | { readonly kind: 'spill'; readonly spill: Spill }
  | { readonly kind: 'event'; readonly event: ProcessEvent };

const EVENT_KINDS: Record<number, ProcessEvent['kind']> = {
  [record_type.RECORD_FORK]: 'fork',
  [record_type.RECORD_EXEC]: 'exec',
  [record_type.RECORD_EXIT]: 'exit',
  [record_type.RECORD_UNKNOWN]: 'unknown',
};

/** Decodes the record at [offset, offset + length). Undefined: a type or length that no program of ours writes. */
export function decodeRecord(view: DataView, offset: number, length: number): DecodedRecord | undefined {
  if (length < 2) return undefined;
  const type = view.getUint16(offset, true);
  if (type === record_type.RECORD_SAMPLE || type === record_type.RECORD_SAMPLE_REF) {
    if (length < structs.sample.size) return undefined;
    const flags = view.getUint32(offset + SAMPLE.flags, true);
    const head: SampleHead = {
      key: readKey(view, offset + SAMPLE.stack_hash),
      tid: view.getUint32(offset + SAMPLE.tid, true),
      comm: readComm(view, offset + SAMPLE.comm),
      time: readU64(view, offset + SAMPLE.time),
      cpu: view.getUint32(offset + SAMPLE.cpu, true),
      reason: view.getUint8(offset + SAMPLE.reason),
      spilled: (flags & limits.SAMPLE_SPILLED) !== 0,
      part: flags & limits.SAMPLE_KERNEL_PART ? 'kernel' : flags & limits.SAMPLE_USER_PART ? 'user' : undefined,
      walk: readU64(view, offset + SAMPLE.walk),
    };
    if (type === record_type.RECORD_SAMPLE_REF) return { kind: 'sample', head, stack: undefined };
    const stack = decodeStack(view, offset, length, head.key);
    return stack && { kind: 'sample', head, stack };
  }
  if (type === record_type.RECORD_SPILL) {
    const spill = decodeSpill(view, offset, length);
    return spill && { kind: 'spill', spill };
  }
  const kind = EVENT_KINDS[type];
  if (kind === undefined || length < structs.process_event.size) return undefined;
  return {
    kind: 'event',
    event: {
      kind,
      tgid: view.getUint32(offset + EVENT.tgid, true),
      parent: view.getUint32(offset + EVENT.parent, true),
      generation: view.getUint32(offset + EVENT.generation, true),
      time: readU64(view, offset + EVENT.time),
      address: readU64(view, offset + EVENT.address),
      comm: readComm(view, offset + EVENT.comm),
    },
  };
}

function decodeStack(view: DataView, offset: number, length: number, key: number): Stack | undefined {
  const kernelFrames = view.getUint16(offset + SAMPLE.kernel_frames, true);
  const userFrames = view.getUint32(offset + SAMPLE.user_frames, true);
  if (length < structs.sample.size + 8 * (kernelFrames + userFrames)) return undefined;
  const flags = view.getUint32(offset + SAMPLE.flags, true);
  const kernel = new BigUint64Array(kernelFrames);
  const user = new Float64Array(userFrames);
  const userFlags = new Uint8Array(userFrames);
  let at = offset + structs.sample.size;
  for (let i = 0; i < kernelFrames; i++, at += 8) kernel[i] = view.getBigUint64(at, true);
  // Where frames were left out, the second half is a ring (abi.h).
  const elided = view.getUint32(offset + SAMPLE.elided, true);
  const ring = elided > 0 ? userFrames >>> 1 : 0;
  const elidedAt = elided > 0 ? userFrames - ring : 0;
  for (let n = 0; n < userFrames; n++, at += 8) {
    const i = ring > 0 && n >= elidedAt ? elidedAt + ((n - elidedAt + ring - (elided % ring)) % ring) : n;
    const high = view.getUint32(at + 4, true);
    user[i] = (high & 0x01ff_ffff) * 2 ** 32 + view.getUint32(at, true);
    userFlags[i] = (high >>> 31 ? EXACT : 0) | ((high >>> 30) & 1 ? BY_POINTER : 0);
  }
  return {
    key,
    tgid: view.getUint32(offset + SAMPLE.tgid, true),
    generation: view.getUint32(offset + SAMPLE.generation, true),
    reason: view.getUint8(offset + SAMPLE.reason),
    strategy: view.getUint8(offset + SAMPLE.strategy),
    policy: view.getUint16(offset + SAMPLE.policy, true),
    inKernel: (flags & limits.SAMPLE_IN_KERNEL) !== 0,
    kernelClipped: (flags & limits.SAMPLE_KERNEL_CLIPPED) !== 0,
    steps: view.getUint32(offset + SAMPLE.steps, true),
    tailCalls: view.getUint32(offset + SAMPLE.tail_calls, true),
    cgroup: view.getBigUint64(offset + SAMPLE.cgroup, true),
    failingPc: readU64(view, offset + SAMPLE.failing_pc),
    kernel,
    user,
    userFlags,
    elided,
    elidedAt,
    spliced: view.getUint32(offset + SAMPLE.spliced, true),
  };
}

function readKey(view: DataView, offset: number): number {
  return (view.getUint32(offset + 4, true) & 0x1f_ffff) * 2 ** 32 + view.getUint32(offset, true);
}

function readU64(view: DataView, offset: number): number {
  return view.getUint32(offset + 4, true) * 2 ** 32 + view.getUint32(offset, true);
}

function readComm(view: DataView, offset: number): string {
  let text = '';
  for (let i = 0; i < 16; i++) {
    const code = view.getUint8(offset + i);
    if (code === 0) break;
    text += String.fromCharCode(code);
  }
  return text;
}
