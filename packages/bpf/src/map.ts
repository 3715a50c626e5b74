// SPDX-License-Identifier: Apache-2.0
/** BPF maps: single entries, batches, and the memory of mmap-able arrays. */
import { BpfError } from './errors.ts';
import { type MapHandle, type MapInfo, native } from './native.ts';
import type { BpfProgram } from './program.ts';

/** BPF_MAP_TYPE_* of include/uapi/linux/bpf.h, those that have a use here. */
export const MAP_TYPES = {
  hash: 1,
  array: 2,
  progArray: 3,
  perCpuHash: 5,
  perCpuArray: 6,
  stackTrace: 7,
  lruHash: 9,
  lruPerCpuHash: 10,
  lpmTrie: 11,
  arrayOfMaps: 12,
  hashOfMaps: 13,
  ringBuffer: 27,
} as const;
export type MapType = keyof typeof MAP_TYPES;

/** BPF_F_* of maps. */
export const MAP_FLAGS = { noPrealloc: 1, readOnlyProgram: 1 << 7, mmapable: 1 << 10, innerMap: 1 << 12 } as const;

/** `any` creates or replaces, `create` fails with EEXIST, `replace` with ENOENT. */
export const UPDATE_FLAGS = { any: 0n, create: 1n, replace: 2n } as const;
export type UpdateMode = keyof typeof UPDATE_FLAGS;

const PER_CPU: ReadonlySet<number> = new Set([MAP_TYPES.perCpuHash, MAP_TYPES.perCpuArray, MAP_TYPES.lruPerCpuHash]);
const OF_DESCRIPTORS: ReadonlySet<number> = new Set([MAP_TYPES.progArray, MAP_TYPES.arrayOfMaps, MAP_TYPES.hashOfMaps]);
const ARRAYS: ReadonlySet<number> = new Set([MAP_TYPES.array, MAP_TYPES.perCpuArray]);
/** Errors of a kernel that has no batches for a type of map. */
const NO_BATCHES: ReadonlySet<string> = new Set(['ENOTSUPP', 'EOPNOTSUPP', 'EINVAL']);
const PAGE_SIZE = 4096;

/** Bytes of exactly the key's size, or a number where the key is 4 or 8 bytes long. */
export type MapKey = Uint8Array | number | bigint;
/**
 * Bytes of exactly the value's size, a number where it is 1 to 8 bytes long, or what an array of maps or programs
 * holds.
 */
export type MapValue = Uint8Array | number | bigint | BpfMap | BpfProgram;

export interface MapOptions {
  type: MapType;
  keySize: number;
  valueSize: number;
  maxEntries: number;
  /** Of `MAP_FLAGS`. */
  flags?: number;
  /** At most 15 characters. */
  name?: string;
  /** Of a map of maps: any map of the kind that it will hold. */
  innerMap?: BpfMap;
}

export interface MapBatch {
  /** `count` keys one after the other, then their values; views that stay valid. */
  keys: Buffer;
  values: Buffer;
  count: number;
}

export class BpfMap {
  readonly info: MapInfo;
  /** Bytes of one value as system calls see it: of all CPUs together in a per-CPU map. */
  readonly valueStride: number;
  readonly #handle: MapHandle;
  #batches = true;
  #views: ArrayBuffer[] = [];

  constructor(handle: MapHandle) {
    this.#handle = handle;
    this.info = native().mapInfo(handle);
    const { type, valueSize } = this.info;
    this.valueStride = PER_CPU.has(type) ? align8(valueSize) * native().possibleCpus() : valueSize;
  }

  /** @throws BpfError if the kernel refuses it, RangeError for sizes that no map can have */
  static create(options: MapOptions): BpfMap {
    const { type, keySize, valueSize, maxEntries, flags = 0, name = '', innerMap } = options;
    for (const [what, size] of Object.entries({ keySize, valueSize, maxEntries, flags }))
      checkInteger(what, size, 0xffffffff);
    if (!(type in MAP_TYPES)) throw new TypeError(`unknown type of map: ${type}`);
    if (!/^[\w.]{0,15}$/.test(name))
      throw new RangeError(`name of map must be at most 15 letters, digits, _ or .: ${name}`);
    const inner = innerMap ? innerMap.#handle : null;
    return new BpfMap(native().mapCreate(MAP_TYPES[type], name, keySize, valueSize, maxEntries, flags, inner));
  }

  get name(): string {
    return this.info.name;
  }

  get fd(): number {
    return native().fileDescriptor(this.#handle);
  }

  /** For `EventReader`. */
  get handle(): MapHandle {
    return this.#handle;
  }

  /** A copy of the value, or undefined if there is none. */
  lookup(key: MapKey): Buffer | undefined {
    if (PER_CPU.has(this.info.type)) throw new TypeError(`${this.name} has a value for each CPU: use lookupPerCpu`);
    const value = Buffer.alloc(this.valueStride);
    return native().mapLookup(this.#handle, this.#key(key), value) ? value : undefined;
  }

  /** A copy of the value of each possible CPU, in order, or undefined if there is none. */
  lookupPerCpu(key: MapKey): Buffer[] | undefined {
    const { type, valueSize } = this.info;
    if (!PER_CPU.has(type)) throw new TypeError(`${this.name} has one value for all CPUs: use lookup`);
    const values = Buffer.alloc(this.valueStride);
    if (!native().mapLookup(this.#handle, this.#key(key), values)) return undefined;
    const stride = align8(valueSize);
    return Array.from({ length: values.length / stride }, (_, cpu) =>
      values.subarray(cpu * stride, cpu * stride + valueSize),
    );
  }

  update(key: MapKey, value: MapValue, mode: UpdateMode = 'any'): void {
    native().mapUpdate(this.#handle, this.#key(key), this.#value(value), UPDATE_FLAGS[mode]);
  }

  /** Whether there was an entry. */
  delete(key: MapKey): boolean {
    return native().mapDelete(this.#handle, this.#key(key));
  }

  /**
   * Writes `count` entries, in one system call where the kernel has batches (5.6) and one by one otherwise.
   * @param keys one after the other, `keySize` bytes each; any typed array
   * @param values one after the other, `valueStride` bytes each
   */
  updateBatch(keys: ArrayBufferView, values: ArrayBufferView, count: number, mode: UpdateMode = 'any'): void {
    const { keySize } = this.info;
    checkInteger('count', count, 0xffffffff);
    const keyBytes = bytesOf(keys);
    const valueBytes = bytesOf(values);
    if (keyBytes.length < count * keySize)
      throw new RangeError(`keys hold fewer than ${count} entries of ${keySize} bytes`);
    if (valueBytes.length < count * this.valueStride) {
      throw new RangeError(`values hold fewer than ${count} entries of ${this.valueStride} bytes`);
    }
    if (count === 0) return;
    const flags = UPDATE_FLAGS[mode];
    if (this.#batches) {
      if (native().mapUpdateBatch(this.#handle, keyBytes, valueBytes, count, flags) >= 0) return;
      // Also what a bad entry answers; then writing one by one fails with the same error, at that entry.
      native().mapUpdateEach(this.#handle, keyBytes, keySize, valueBytes, this.valueStride, count, flags);
      this.#batches = false;
      return;
    }
    native().mapUpdateEach(this.#handle, keyBytes, keySize, valueBytes, this.valueStride, count, flags);
  }

  /** Whether the kernel has batches for this type of map; reads a batch to learn it. */
  hasBatches(): boolean {
    for (const _ of this.readBatches(1)) break;
    return this.#batches;
  }

  /**
   * All entries, in batches of about `size`. Entries that come or go meanwhile may be seen or not.
   * @param remove take the entries out of the map; hash maps only
   */
  *readBatches(size = 4096, { remove = false } = {}): Generator<MapBatch> {
    checkInteger('size', size, 1 << 24, 1);
    if (remove && ARRAYS.has(this.info.type))
      throw new TypeError(`entries of the array ${this.name} cannot be removed`);
    if (!this.#batches) {
      yield* this.#readEach(size, remove);
      return;
    }
    const { keySize } = this.info;
    // A hash map's cursor is a bucket number, that of others a key.
    let cursor: Buffer | null = null;
    for (;;) {
      const next: Buffer = Buffer.alloc(Math.max(keySize, 8));
      const keys = Buffer.alloc(size * keySize);
      const values = Buffer.alloc(size * this.valueStride);
      let count: number;
      try {
        count = native().mapReadBatch(this.#handle, cursor, next, keys, values, size, remove);
      } catch (error) {
        if (!(error instanceof BpfError)) throw error;
        if (error.code === 'ENOSPC' && size < this.info.maxEntries) {
          size *= 2; // one bucket of the hash table holds more than that
          continue;
        }
        if (cursor || !NO_BATCHES.has(error.code)) throw error;
        this.#batches = false;
        yield* this.#readEach(size, remove);
        return;
      }
      const last = count < 0;
      if (last) count = ~count;
      if (count)
        yield { keys: keys.subarray(0, count * keySize), values: values.subarray(0, count * this.valueStride), count };
      if (last) return;
      cursor = next;
    }
  }

  /** `readBatches` for kernels without batches. */
  *#readEach(size: number, remove: boolean): Generator<MapBatch> {
    const { keySize, maxEntries } = this.info;
    let previous: Buffer | null = null;
    let batch: { key: Buffer; value: Buffer }[] = [];
    const take = (): MapBatch => {
      const taken = {
        keys: Buffer.concat(batch.map(({ key }) => key)),
        values: Buffer.concat(batch.map(({ value }) => value)),
        count: batch.length,
      };
      if (remove) for (const { key } of batch) native().mapDelete(this.#handle, key);
      batch = [];
      return taken;
    };
    // A key that is deleted while it is the cursor sends the kernel back to the start: the bound keeps this finite.
    for (let seen = 0; seen <= maxEntries; seen++) {
      const key: Buffer = Buffer.alloc(keySize);
      if (!native().mapNextKey(this.#handle, previous, key)) break;
      const value = Buffer.alloc(this.valueStride);
      if (native().mapLookup(this.#handle, key, value)) batch.push({ key, value });
      previous = key;
      if (batch.length < size) continue;
      yield take();
      if (remove) previous = null;
    }
    if (batch.length) yield take();
  }

  /**
   * All entries one by one; the buffers are copies. Values of a per-CPU map are those of all CPUs, `valueStride`
   * bytes.
   */
  *entries(): Generator<{ key: Buffer; value: Buffer }> {
    const { keySize } = this.info;
    for (const { keys, values, count } of this.readBatches()) {
      for (let i = 0; i < count; i++) {
        yield {
          key: keys.subarray(i * keySize, (i + 1) * keySize),
          value: values.subarray(i * this.valueStride, (i + 1) * this.valueStride),
        };
      }
    }
  }

  /** Removes all entries; an array's are set to zero. */
  clear(): void {
    const { type, maxEntries, keySize } = this.info;
    if (ARRAYS.has(type)) {
      for (let first = 0; first < maxEntries; first += 4096) {
        const count = Math.min(4096, maxEntries - first);
        const keys = Uint32Array.from({ length: count }, (_, index) => first + index);
        this.updateBatch(keys, Buffer.alloc(count * this.valueStride), count);
      }
      return;
    }
    const key = Buffer.alloc(keySize);
    while (native().mapNextKey(this.#handle, null, key)) native().mapDelete(this.#handle, key);
  }

  /** Bytes of an mmap-able array: values one after the other, each at a multiple of 8. */
  get memorySize(): number {
    return this.info.maxEntries * align8(this.info.valueSize);
  }

  #checkRange(offset: number, length: number): void {
    if (!(this.info.flags & MAP_FLAGS.mmapable)) throw new TypeError(`map ${this.name} is not mmap-able`);
    checkInteger('offset', offset, this.memorySize);
    if (length > this.memorySize - offset)
      throw new RangeError(`${length} bytes at ${offset} lie outside of map ${this.name}`);
  }

  /**
   * Writes into the memory of an mmap-able array. The memory is mapped for the moment only, so that it is never
   * counted as this process's. Aligned 4- and 8-byte words are written at once; BPF programs may see longer writes
   * half done.
   */
  write(offset: number, bytes: Uint8Array): void {
    this.#checkRange(offset, bytes.length);
    if (bytes.length) native().mapWrite(this.#handle, BigInt(offset), bytes);
  }

  /** A copy of `length` bytes of the memory of an mmap-able array. */
  read(offset: number, length: number): Buffer {
    checkInteger('length', length, this.memorySize);
    this.#checkRange(offset, length);
    const bytes = Buffer.alloc(length);
    if (length) native().mapRead(this.#handle, BigInt(offset), bytes);
    return bytes;
  }

  /** The whole memory of an mmap-able array, shared with BPF until `munmap` or `close` detaches the buffer. */
  mmap(): ArrayBuffer {
    this.#checkRange(0, 0);
    const view = native().mapView(this.#handle, Math.ceil(this.memorySize / PAGE_SIZE) * PAGE_SIZE);
    this.#views.push(view);
    return view;
  }

  munmap(view: ArrayBuffer): void {
    const index = this.#views.indexOf(view);
    if (index < 0) throw new TypeError(`not a view of map ${this.name}`);
    this.#views.splice(index, 1);
    native().detach(view);
  }

  /** Gives up this hold on the map; programs may keep it alive. Views are detached. */
  close(): void {
    for (const view of this.#views.splice(0)) native().detach(view);
    native().close(this.#handle);
  }

  #key(key: MapKey): Uint8Array {
    return encode('key', key, this.info.keySize, this.name);
  }

  #value(value: MapValue): Uint8Array {
    if (OF_DESCRIPTORS.has(this.info.type) && typeof value === 'object' && 'fd' in value) value = value.fd;
    if (typeof value === 'object' && !(value instanceof Uint8Array))
      throw new TypeError(`map ${this.name} does not hold maps or programs`);
    return encode('value', value, this.valueStride, this.name);
  }
}

const align8 = (size: number) => (size + 7) & ~7;

function bytesOf(view: ArrayBufferView): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}

function checkInteger(what: string, value: number, most: number, least = 0): void {
  if (!Number.isInteger(value) || value < least || value > most) {
    throw new RangeError(`${what} must be an integer from ${least} to ${most}, not ${value}`);
  }
}

/** Little-endian bytes of a number, or the bytes themselves, of exactly `size`. */
function encode(what: 'key' | 'value', value: Uint8Array | number | bigint, size: number, map: string): Uint8Array {
  if (value instanceof Uint8Array) {
    if (value.length !== size) throw new RangeError(`${what} of map ${map} is ${size} bytes long, not ${value.length}`);
    return value;
  }
  if (typeof value !== 'number' && typeof value !== 'bigint')
    throw new TypeError(`${what} of map ${map} must be bytes or a number`);
  return encodeInteger(`${what} of map ${map}`, value, size);
}

/** Two's complement, little endian. @throws RangeError if `value` does not fit into `size` bytes, signed or unsigned */
export function encodeInteger(what: string, value: number | bigint, size: number): Buffer {
  if (![1, 2, 4, 8].includes(size)) throw new RangeError(`${what} is ${size} bytes long: give it as bytes`);
  if (typeof value === 'number' && !Number.isSafeInteger(value))
    throw new RangeError(`${what} must be an integer, not ${value}`);
  const integer = BigInt(value);
  const bits = BigInt(size * 8);
  if (integer >= 1n << bits || integer < -(1n << (bits - 1n)))
    throw new RangeError(`${what} does not fit into ${size} bytes: ${value}`);
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt.asUintN(64, integer));
  return bytes.subarray(0, size);
}
