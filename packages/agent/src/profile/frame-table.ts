// SPDX-License-Identifier: Apache-2.0
import { withRoom } from './columns.ts';
import { type FunctionHandle, NO_FUNCTION } from './function-table.ts';
import { finish, HandleIndex, mix } from './handle-index.ts';
import type { MappingHandle } from './mapping-table.ts';

declare const brand: unique symbol;
/** Number of a frame in a FrameTable; 0 stands for "no frame". */
export type FrameHandle = number & { readonly [brand]: 'frame' };

export const NO_FRAME = 0 as FrameHandle;

/**
 * What ran a frame: the values of OpenTelemetry's `profile.frame.type`, and `synthetic` for a frame that no machine
 * ran, such as `[truncated: no_unwind_info]`.
 */
export const FRAME_KINDS = [
  'native',
  'kernel',
  'go',
  'rust',
  'cpython',
  'v8js',
  'jvm',
  'ruby',
  'php',
  'perl',
  'dotnet',
  'beam',
  'luajit',
  'cuda',
  'synthetic',
] as const;
export type FrameKind = (typeof FRAME_KINDS)[number];

/** A frame as it is put into the table. */
export interface FrameRow {
  function: FunctionHandle;
  /** 1-based; 0 when not known. */
  line: number;
  mapping: MappingHandle;
  /**
   * Address in the file (ELF virtual address; of the kernel: the address itself); 0 when the frame has none. A number
   * while it is exact in one (below 2^53), otherwise a bigint.
   */
  address: number | bigint;
  kind: FrameKind;
  /** The compiler copied this function into its caller: the frame of that caller at the same address. */
  inlinedInto: FrameHandle;
}

/**
 * Frames, in columns. A frame with `inlinedInto` carries its callers at the same address with it, so one handle is one
 * location of OTLP and pprof with all its lines, innermost first.
 */
export class FrameTable {
  #functions = new Uint32Array(64);
  #lines = new Uint32Array(64);
  #mappings = new Uint32Array(64);
  #addressesLow = new Uint32Array(64);
  #addressesHigh = new Uint32Array(64);
  #inlinedInto = new Uint32Array(64);
  #kinds = new Uint8Array(64);
  readonly #index = new HandleIndex(1);

  get count(): number {
    return this.#index.count;
  }

  intern(frame: FrameRow): FrameHandle {
    const { function: fn, line, mapping, address, inlinedInto } = frame;
    const kind = FRAME_KINDS.indexOf(frame.kind);
    let low: number;
    let high: number;
    if (typeof address === 'number') {
      low = address >>> 0;
      high = Math.floor(address / 0x1_0000_0000) >>> 0;
    } else {
      low = Number(BigInt.asUintN(32, address));
      high = Number(BigInt.asUintN(32, address >> 32n));
    }
    let hash = mix(mix(mix(0, low), high), fn);
    hash = finish(mix(mix(mix(hash, line), mapping), inlinedInto));
    let slot = this.#index.first(hash);
    for (let row = this.#index.at(slot); row >= 0; slot = this.#index.next(slot), row = this.#index.at(slot)) {
      if (
        this.#addressesLow[row] === low &&
        this.#addressesHigh[row] === high &&
        this.#functions[row] === fn &&
        this.#lines[row] === line &&
        this.#mappings[row] === mapping &&
        this.#inlinedInto[row] === inlinedInto &&
        this.#kinds[row] === kind
      ) {
        return row as FrameHandle;
      }
    }
    const row = this.#index.insert(slot, hash);
    this.#makeRoom(row);
    this.#functions[row] = fn;
    this.#lines[row] = line;
    this.#mappings[row] = mapping;
    this.#addressesLow[row] = low;
    this.#addressesHigh[row] = high;
    this.#inlinedInto[row] = inlinedInto;
    this.#kinds[row] = kind;
    return row as FrameHandle;
  }

  #makeRoom(row: number): void {
    this.#functions = withRoom(this.#functions, row);
    this.#lines = withRoom(this.#lines, row);
    this.#mappings = withRoom(this.#mappings, row);
    this.#addressesLow = withRoom(this.#addressesLow, row);
    this.#addressesHigh = withRoom(this.#addressesHigh, row);
    this.#inlinedInto = withRoom(this.#inlinedInto, row);
    this.#kinds = withRoom(this.#kinds, row);
  }

  function(handle: FrameHandle): FunctionHandle {
    return this.#functions[handle] as FunctionHandle;
  }

  line(handle: FrameHandle): number {
    return this.#lines[handle];
  }

  mapping(handle: FrameHandle): MappingHandle {
    return this.#mappings[handle] as MappingHandle;
  }

  /** Low 32 bits of the address. */
  addressLow(handle: FrameHandle): number {
    return this.#addressesLow[handle];
  }

  /** High 32 bits of the address. */
  addressHigh(handle: FrameHandle): number {
    return this.#addressesHigh[handle];
  }

  address(handle: FrameHandle): bigint {
    return (BigInt(this.#addressesHigh[handle]) << 32n) | BigInt(this.#addressesLow[handle]);
  }

  /** Index into FRAME_KINDS. */
  kindIndex(handle: FrameHandle): number {
    return this.#kinds[handle];
  }

  kind(handle: FrameHandle): FrameKind {
    return FRAME_KINDS[this.#kinds[handle]];
  }

  inlinedInto(handle: FrameHandle): FrameHandle {
    return this.#inlinedInto[handle] as FrameHandle;
  }

  /** A frame and what it was inlined into, innermost first, those left out of which no function is known. */
  lines(handle: FrameHandle): FrameHandle[] {
    const chain: FrameHandle[] = [];
    for (let frame = handle; frame !== NO_FRAME; frame = this.inlinedInto(frame)) {
      if (this.function(frame) !== NO_FUNCTION) chain.push(frame);
    }
    return chain;
  }
}
