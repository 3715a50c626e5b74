// SPDX-License-Identifier: Apache-2.0
/** What is asked of a walk of a spilled stack, and its answer: plain data, for another thread to take. */
import type { WalkEnd } from './cfi-unwinder.ts';

/** A file that mappings name. Its descriptor stays open while a request that names it is being answered. */
export interface MappedFile {
  readonly id: number;
  readonly fd: number;
  /** Where there is no descriptor: the vDSO. */
  readonly bytes?: Uint8Array;
}

/** Numbers of one mapping in `WalkRequest.mappings`: start, end, file offset, and the file's id or NO_FILE. */
export const MAPPING_NUMBERS = 4;
export const NO_FILE = -1;

export interface WalkRequest {
  readonly pc: number;
  readonly exact: boolean;
  /** The code at `pc`; empty: not known. */
  readonly code: Uint8Array;
  readonly registers: readonly (bigint | undefined)[];
  readonly stackStart: bigint;
  readonly stack: Uint8Array<ArrayBuffer>;
  readonly maxFrames: number;
  /** Executable mappings, sorted by address. */
  readonly mappings: Float64Array;
  readonly files: readonly MappedFile[];
  /** Rules that were needed before. */
  readonly rules: readonly LearnedRule[];
}

/** An address of a file without call frame information. */
export interface FileAddress {
  readonly file: number;
  readonly address: number;
}

export interface LearnedRule extends FileAddress {
  /** A `struct unwind_rule`; undefined: nothing is known. */
  readonly rule: Uint8Array | undefined;
}

export interface WalkReply {
  /** Addresses, leaf first, and for each its flags, as `Stack.userFlags` has them. */
  readonly addresses: Float64Array;
  readonly flags: Uint8Array;
  readonly end: WalkEnd | 'failed' | 'rule_needed';
  /** Where it ended for want of a rule. */
  readonly needed?: FileAddress;
  /** Where it ended. */
  readonly pc: number;
  /** The stack, given back. */
  readonly stack: Uint8Array<ArrayBuffer>;
  readonly error?: string;
}
