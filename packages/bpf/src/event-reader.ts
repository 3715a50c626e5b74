// SPDX-License-Identifier: Apache-2.0
/**
 * Brings records from the BPF ring buffer and from perf's side band to JavaScript, in batches, by a thread of the
 * addon.
 *
 * Order: side-band records come sorted by time across CPUs, and everything that the side band said before a ring
 * record was submitted is delivered before that record.
 */
import { CpuEvents } from './cpu-events.ts';
import { BpfError } from './errors.ts';
import { type BpfMap, MAP_TYPES } from './map.ts';
import { native, type ReaderHandle, type ReaderStatistics } from './native.ts';

/** Records in a buffer that belongs to the receiver until it has returned, or its promise has settled. */
export interface EventBatch {
  readonly kind: 'ring' | 'sideBand';
  /**
   * Record `i` is `records[offsets[i]] .. records[offsets[i + 1]]`, the last up to 7 bytes being padding. Starts are
   * multiples of 8.
   */
  readonly records: Buffer;
  /** Over the same bytes as `records`. */
  readonly view: DataView;
  readonly offsets: Uint32Array;
  /** Only the first `count` records are valid. */
  readonly count: number;
}

export interface EventReaderOptions {
  /** A ring-buffer map. */
  ring?: BpfMap;
  /**
   * Read perf's side band of all CPUs: execs, forks, exits, executable mappings; see `decodeSideBand`. `pages`: size
   * of each CPU's ring in pages of 4 KiB, a power of two; default 16. All rings together should fit
   * kernel.perf_event_mlock_kb a CPU.
   */
  sideBand?: boolean | { pages?: number };
  /** Buffers are given back when this returns or its promise settles; what it throws is an uncaught exception. */
  onBatch: (batch: EventBatch) => void | Promise<void>;
  /** Size of one buffer; records that are larger are counted and left out. Default 256 KiB. */
  bufferBytes?: number;
  /** Buffers that may be in flight; then records wait in the rings. Default 4. */
  buffers?: number;
  /** Longest time that a ring record waits where BPF asks for no wake-up. Default 100. */
  intervalMs?: number;
  /** Shortest time between two looks into the rings, so that a storm of wake-ups stays cheap. Default 5. */
  spacingMs?: number;
}

/** Message types of addon/event_reader.cc. */
const MESSAGE = { ring: 0, sideBand: 1, flushed: 2, closed: 3 } as const;
/** Offsets are enough for records of this size on average; smaller ones only make smaller batches. */
const MEAN_RECORD_SIZE = 32;
/** A side-band record has a 16-bit size, and must fit. */
const MIN_BUFFER_BYTES = 64 << 10;

interface Slot {
  records: Buffer;
  view: DataView;
  offsets: Uint32Array;
}

export class EventReader {
  readonly #handle: ReaderHandle;
  readonly #slots: Slot[];
  readonly #onBatch: EventReaderOptions['onBatch'];
  readonly #flushes = new Map<number, (complete: boolean) => void>();
  /** Receivers that have not settled. */
  readonly #receiving = new Set<Promise<void>>();
  readonly #closed = Promise.withResolvers<void>();
  #sideBand: CpuEvents | undefined;
  #nextFlush = 1;
  #state: 'open' | 'closing' | 'closed' = 'open';

  private constructor(options: EventReaderOptions) {
    const { ring, sideBand, onBatch, bufferBytes = 256 << 10, buffers = 4, intervalMs = 100, spacingMs = 5 } = options;
    if (typeof onBatch !== 'function') throw new TypeError('onBatch must be a function');
    if (!ring && !sideBand) throw new TypeError('give a ring, sideBand, or both');
    if (ring && ring.info.type !== MAP_TYPES.ringBuffer) throw new TypeError(`map ${ring.name} is not a ring buffer`);
    const ranges = {
      bufferBytes: [MIN_BUFFER_BYTES, 1 << 28],
      buffers: [1, 64],
      intervalMs: [1, 60_000],
      spacingMs: [0, 1000],
    } as const;
    for (const [name, [least, most]] of Object.entries(ranges)) {
      const value = { bufferBytes, buffers, intervalMs, spacingMs }[name]!;
      if (!Number.isInteger(value) || value < least || value > most) {
        throw new RangeError(`${name} must be an integer from ${least} to ${most}, not ${value}`);
      }
    }
    const pages = typeof sideBand === 'object' ? (sideBand.pages ?? 16) : 16;
    if (!Number.isInteger(Math.log2(pages)) || pages < 1 || pages > 4096)
      throw new RangeError(`pages must be a power of two, not ${pages}`);

    this.#onBatch = onBatch;
    this.#slots = Array.from({ length: buffers }, () => {
      // Untouched pages of a fresh buffer take no memory, and the addon prefers the buffer used last.
      const memory = new ArrayBuffer(bufferBytes & ~7);
      return {
        records: Buffer.from(memory),
        view: new DataView(memory),
        offsets: new Uint32Array(Math.floor(bufferBytes / MEAN_RECORD_SIZE) + 1),
      };
    });
    this.#handle = native().readerOpen(
      ring?.handle ?? null,
      ring?.info.maxEntries ?? 0,
      this.#slots.map((slot) => slot.records),
      this.#slots.map((slot) => slot.offsets),
      intervalMs,
      spacingMs,
      (type, slotOrFlush, countOrComplete) => this.#receive(type, slotOrFlush, countOrComplete),
    );
    if (!sideBand) return;
    try {
      this.#sideBand = CpuEvents.open(
        { event: 'dummy', sideBand: true },
        { onOpen: (event, cpu) => native().readerAddSideBand(this.#handle, event.handle, cpu, pages) },
      );
      this.#sideBand.enable();
    } catch (error) {
      this.#end();
      throw error;
    }
  }

  /**
   * Reads from now on. Keeps the process alive until `close` or `unref`.
   * @throws BpfError if the kernel refuses a ring
   */
  static open(options: EventReaderOptions): EventReader {
    return new EventReader(options);
  }

  #receive(type: number, slotOrFlush: number, countOrComplete: number): void {
    if (type === MESSAGE.ring || type === MESSAGE.sideBand) {
      this.#deliver(type === MESSAGE.ring ? 'ring' : 'sideBand', slotOrFlush, countOrComplete);
    } else if (type === MESSAGE.flushed) {
      this.#flushes.get(slotOrFlush)?.(countOrComplete === 1);
      this.#flushes.delete(slotOrFlush);
    } else {
      this.#closed.resolve();
    }
  }

  #deliver(kind: 'ring' | 'sideBand', index: number, count: number): void {
    const release = () => native().readerRelease(this.#handle, index);
    const { records, view, offsets } = this.#slots[index];
    let received: void | Promise<void>;
    try {
      received = this.#onBatch({ kind, records, view, offsets, count });
    } catch (error) {
      release();
      throw error;
    }
    if (!(received instanceof Promise)) {
      release();
      return;
    }
    const receiving = received.finally(() => {
      this.#receiving.delete(receiving);
      release();
    });
    this.#receiving.add(receiving);
  }

  /**
   * Resolves when everything that was in the rings at the call has been received: `true`; or `false` after
   * `timeoutMs`, when a record is reserved but not submitted, or the receiver holds all buffers.
   */
  async flush({ timeoutMs = 5000 } = {}): Promise<boolean> {
    if (this.#state === 'closed')
      throw new BpfError({ operation: 'flush', code: 'CLOSED', detail: 'the event reader is closed' });
    if (!Number.isInteger(timeoutMs) || timeoutMs < 0 || timeoutMs > 0xffffffff)
      throw new RangeError(`timeoutMs cannot be ${timeoutMs}`);
    const { promise, resolve } = Promise.withResolvers<boolean>();
    const id = this.#nextFlush++;
    this.#flushes.set(id, resolve);
    native().readerFlush(this.#handle, id, timeoutMs);
    const complete = await keepAlive(promise);
    if (complete) await Promise.allSettled(this.#receiving);
    return complete;
  }

  /** Follows CPUs that came or went since the last call; see `CpuEvents.refresh`. */
  refreshCpus(): { opened: number[]; closed: number[] } {
    return this.#sideBand?.refresh() ?? { opened: [], closed: [] };
  }

  /** Also after `close`. */
  statistics(): ReaderStatistics {
    return native().readerStatistics(this.#handle);
  }

  /** Lets the process end although the reader is open. */
  unref(): void {
    native().readerUnref(this.#handle);
  }

  /**
   * Delivers what is in the rings, then ends. What could not be delivered in `timeoutMs` is counted in
   * `statistics().undeliveredBytes`. Waits for the receiver to settle. The ring map stays open.
   */
  async close({ timeoutMs = 5000 } = {}): Promise<void> {
    if (this.#state === 'open') {
      this.#state = 'closing';
      this.#sideBand?.disable();
      await this.flush({ timeoutMs });
      this.#end();
    }
    await keepAlive(this.#closed.promise);
    await Promise.allSettled(this.#receiving);
  }

  #end(): void {
    this.#state = 'closed';
    native().close(this.#handle); // joins the thread; `closed` is its last message
    this.#sideBand?.close();
  }
}

/** A reader after `unref` does not keep the process alive; one that is waited for must. */
async function keepAlive<T>(promise: Promise<T>): Promise<T> {
  const timer = setInterval(() => {}, 2 ** 30);
  try {
    return await promise;
  } finally {
    clearInterval(timer);
  }
}
