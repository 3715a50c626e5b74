// SPDX-License-Identifier: Apache-2.0
/**
 * The only file that loads the addon, and the types of what it offers. Nothing outside this package sees them.
 *
 * The addon takes positional values that are already correct; see addon/environment.h.
 */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { BpfError } from './errors.ts';

declare const handleKind: unique symbol;
/** A thing of the addon's; closed by `close`, by the garbage collector, or when its thread ends. */
export interface Handle<Kind extends string> {
  readonly [handleKind]: Kind;
}
export type ObjectHandle = Handle<'object'>;
export type ProgramHandle = Handle<'program'>;
export type MapHandle = Handle<'map'>;
export type LinkHandle = Handle<'link'>;
export type PerfEventHandle = Handle<'perfEvent'>;
export type ReaderHandle = Handle<'reader'>;

export interface Native {
  initialise(errorClass: typeof BpfError): void;
  close(handle: Handle<string>): void;
  fileDescriptor(handle: ProgramHandle | MapHandle | LinkHandle | PerfEventHandle): number;
  libbpfVersion(): string;
  possibleCpus(): number;

  objectOpen(file: Uint8Array, name: string, btfPath: string | null, verifierLogLevel: number): ObjectHandle;
  objectLoad(object: ObjectHandle): string;
  objectBtf(object: ObjectHandle): Buffer;
  objectPrograms(object: ObjectHandle): [name: string, section: string, type: number][];
  objectMaps(object: ObjectHandle): [name: string, initialSize: number][];
  objectWriteInitial(object: ObjectHandle, map: string, offset: number, bytes: Uint8Array): void;
  objectReadInitial(object: ObjectHandle, map: string, offset: number, bytes: Uint8Array): void;
  objectSetAutoload(object: ObjectHandle, program: string, load: boolean): void;
  objectSetMaxEntries(object: ObjectHandle, map: string, entries: number): void;
  objectProgram(object: ObjectHandle, name: string): ProgramHandle;
  objectMap(object: ObjectHandle, name: string): MapHandle;

  programInfo(program: ProgramHandle): ProgramInfo;
  programAttachRawTracepoint(program: ProgramHandle, name: string | null): LinkHandle;
  programAttachPerfEvent(program: ProgramHandle, event: PerfEventHandle, cookie: bigint): LinkHandle;
  programTestRun(
    program: ProgramHandle,
    context: Uint8Array | null,
    data: Uint8Array | null,
    dataOut: Uint8Array | null,
    repeat: number,
    flags: number,
  ): { returnValue: number; durationNs: number; dataLength: number };
  programLoadRaw(type: number, instructions: Uint8Array, log: Uint8Array, license: string): ProgramHandle | number;
  enableStats(): Handle<'stats'>;

  mapCreate(
    type: number,
    name: string,
    keySize: number,
    valueSize: number,
    maxEntries: number,
    flags: number,
    innerMap: MapHandle | null,
  ): MapHandle;
  mapInfo(map: MapHandle): MapInfo;
  mapLookup(map: MapHandle, key: Uint8Array, value: Uint8Array): boolean;
  mapUpdate(map: MapHandle, key: Uint8Array, value: Uint8Array, flags: bigint): void;
  mapDelete(map: MapHandle, key: Uint8Array): boolean;
  mapNextKey(map: MapHandle, key: Uint8Array | null, next: Uint8Array): boolean;
  mapUpdateBatch(map: MapHandle, keys: Uint8Array, values: Uint8Array, count: number, flags: bigint): number;
  mapUpdateEach(
    map: MapHandle,
    keys: Uint8Array,
    keySize: number,
    values: Uint8Array,
    valueSize: number,
    count: number,
    flags: bigint,
  ): void;
  mapReadBatch(
    map: MapHandle,
    cursor: Uint8Array | null,
    nextCursor: Uint8Array,
    keys: Uint8Array,
    values: Uint8Array,
    count: number,
    remove: boolean,
  ): number;
  mapWrite(map: MapHandle, offset: bigint, bytes: Uint8Array): void;
  mapRead(map: MapHandle, offset: bigint, bytes: Uint8Array): void;
  mapView(map: MapHandle, size: number): ArrayBuffer;
  detach(view: ArrayBuffer): void;

  perfEventOpen(attributes: Uint8Array, pid: number, cpu: number): PerfEventHandle;
  perfEventEnable(event: PerfEventHandle): void;
  perfEventDisable(event: PerfEventHandle): void;
  perfEventSetPeriod(event: PerfEventHandle, value: bigint): void;
  perfEventRead(event: PerfEventHandle): number;

  readerOpen(
    ring: MapHandle | null,
    ringSize: number,
    records: Uint8Array[],
    offsets: Uint32Array[],
    intervalMs: number,
    spacingMs: number,
    onMessage: (type: number, slotOrFlush: number, countOrComplete: number) => void,
  ): ReaderHandle;
  readerAddSideBand(reader: ReaderHandle, event: PerfEventHandle, cpu: number, pages: number): void;
  readerRelease(reader: ReaderHandle, slot: number): void;
  readerFlush(reader: ReaderHandle, id: number, timeoutMs: number): void;
  readerUnref(reader: ReaderHandle): void;
  readerStatistics(reader: ReaderHandle): ReaderStatistics;

  knownStackStart(depth: number): Handle<'knownStack'>;
  knownStackThread(stack: Handle<'knownStack'>): number;

  releaseMemory(): void;

  demangle(names: readonly string[], maxInput: number, maxOutput: number): (string | null)[];
}

/** What the kernel says of a loaded program. Times and runs are counted while statistics are enabled. */
export interface ProgramInfo {
  name: string;
  id: number;
  /** BPF_PROG_TYPE_*. */
  type: number;
  runTimeNs: number;
  runs: number;
  /** Times that the program was not run because it was running on the CPU already. */
  recursionMisses: number;
  /** Instructions that the verifier walked; 0 before kernel 5.16. */
  verifiedInstructions: number;
  /** Instructions after the verifier's rewriting. */
  instructions: number;
  jitedBytes: number;
}

export interface MapInfo {
  id: number;
  /** BPF_MAP_TYPE_*. */
  type: number;
  keySize: number;
  valueSize: number;
  maxEntries: number;
  flags: number;
  name: string;
}

/** Counts since the reader was opened. */
export interface ReaderStatistics {
  ringRecords: number;
  ringBytes: number;
  /** Records that BPF reserved and then gave up. */
  ringDiscarded: number;
  /** Records larger than a buffer: not delivered. */
  ringOversized: number;
  sideBandRecords: number;
  /** Records that the kernel could not write because a side-band ring was full. */
  sideBandLost: number;
  batches: number;
  passes: number;
  /** Passes cut short because JavaScript held all buffers. */
  stalls: number;
  /** Bytes left in the rings when the reader was closed. */
  undeliveredBytes: number;
}

/** Where built files may lie: beside a bundle, or in this package's build folder. */
const DIRECTORIES = [import.meta.dirname, join(import.meta.dirname, 'build'), join(import.meta.dirname, '..', 'build')];

/**
 * Path of a built file of this package, e.g. `profiler.bpf.o`.
 * @throws BpfError `ADDON_MISSING` if it has not been built
 */
export function builtFile(name: string): string {
  const path = DIRECTORIES.map((directory) => join(directory, name)).find(existsSync);
  if (path) return path;
  throw new BpfError({
    operation: `find ${name}`,
    code: 'ADDON_MISSING',
    detail: `it is in none of ${DIRECTORIES.join(', ')}`,
  });
}

function load(): Native {
  const path = builtFile('addon.node');
  let native: Native;
  try {
    native = createRequire(import.meta.url)(path);
  } catch (error) {
    throw new BpfError({ operation: `load ${path}`, code: 'ADDON_MISSING', detail: (error as Error).message });
  }
  native.initialise(BpfError);
  return native;
}

let loaded: Native | undefined;
/** The addon, loaded at the first use, so that what needs no kernel works without it. */
export function native(): Native {
  loaded ??= load();
  return loaded;
}
