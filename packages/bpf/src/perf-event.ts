// SPDX-License-Identifier: Apache-2.0
/**
 * Perf events: what makes a program run at a frequency, and what reports execs and mappings.
 * Source: perf_event_open(2), struct perf_event_attr of include/uapi/linux/perf_event.h.
 */
import { readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { BpfError } from './errors.ts';
import { native, type PerfEventHandle } from './native.ts';

const TYPE_HARDWARE = 0;
const TYPE_SOFTWARE = 1;

/** Events by name: [perf_event_attr.type, config]. */
export const PERF_EVENTS = {
  /** A timer of each CPU (an hrtimer); offered by every kernel. */
  cpuClock: [TYPE_SOFTWARE, 0],
  /** Time that a task runs. */
  taskClock: [TYPE_SOFTWARE, 1],
  /** Counts nothing: carries side-band records. */
  dummy: [TYPE_SOFTWARE, 9],
  /** Hardware cycles; often absent in virtual machines. */
  cpuCycles: [TYPE_HARDWARE, 0],
} as const;

export type PerfEventName = keyof typeof PERF_EVENTS;

export interface PerfEventOptions {
  event: PerfEventName | { type: number; config: bigint };
  /** Overflows a second; the kernel adapts the period. Either this, or `period`, or neither (counts only). */
  frequencyHz?: number;
  /** Events from one overflow to the next; ns for the clocks. */
  period?: number;
  /** A process or thread, 0 for the caller; default -1: all of the CPU. */
  pid?: number;
  /** Default -1: wherever `pid` runs. */
  cpu?: number;
  /** Do not count while the CPU idles. */
  excludeIdle?: boolean;
  excludeKernel?: boolean;
  excludeUser?: boolean;
  excludeHypervisor?: boolean;
  /** Threads and children of `pid` made from now on are counted too. */
  inherit?: boolean;
  /** Default true: counts from `enable()` on. */
  disabled?: boolean;
  /** Report execs, forks, exits and executable mappings; see `EventReader`. */
  sideBand?: boolean;
}

/**
 * Size of the attributes in kernel 4.1 (PERF_ATTR_SIZE_VER5): all that is used here, understood by every kernel
 * since.
 */
const ATTRIBUTES_SIZE = 112;

/** Bit numbers of the flags in perf_event_attr. */
const FLAG = {
  disabled: 0,
  inherit: 1,
  excludeUser: 4,
  excludeKernel: 5,
  excludeHypervisor: 6,
  excludeIdle: 7,
  mmap: 8,
  comm: 9,
  freq: 10,
  task: 13,
  watermark: 14,
  sampleIdAll: 18,
  mmap2: 23,
  commExec: 24,
  useClockId: 25,
} as const;

/** What each side-band record ends with: TID | TIME | CPU. */
const SAMPLE_TID_TIME_CPU = (1 << 1) | (1 << 2) | (1 << 7);
const CLOCK_MONOTONIC = 1;

const SIDE_BAND_FLAGS = [
  'mmap',
  'mmap2',
  'comm',
  'commExec',
  'task',
  'sampleIdAll',
  'useClockId',
  'watermark',
] as const;

function encodeAttributes(options: PerfEventOptions): Uint8Array {
  const { event, frequencyHz, period, inherit, excludeIdle, excludeKernel, excludeUser, excludeHypervisor, sideBand } =
    options;
  const [type, config] = typeof event === 'string' ? PERF_EVENTS[event] : [event.type, event.config];
  const attributes = new DataView(new ArrayBuffer(ATTRIBUTES_SIZE));
  let flags = 0n;
  const set = (flag: keyof typeof FLAG, on: boolean | undefined) => {
    if (on) flags |= 1n << BigInt(FLAG[flag]);
  };
  set('disabled', options.disabled ?? true);
  set('inherit', inherit);
  set('excludeIdle', excludeIdle);
  set('excludeKernel', excludeKernel);
  set('excludeUser', excludeUser);
  set('excludeHypervisor', excludeHypervisor);
  set('freq', frequencyHz !== undefined);
  attributes.setUint32(0, type, true);
  attributes.setUint32(4, ATTRIBUTES_SIZE, true);
  attributes.setBigUint64(8, BigInt(config), true);
  attributes.setBigUint64(16, BigInt(frequencyHz ?? period ?? 0), true);
  if (sideBand) {
    for (const flag of SIDE_BAND_FLAGS) set(flag, true);
    attributes.setBigUint64(24, BigInt(SAMPLE_TID_TIME_CPU), true);
    attributes.setUint32(48, 1, true); // wakeup_watermark: wake at the first byte
    attributes.setInt32(92, CLOCK_MONOTONIC, true);
  }
  attributes.setBigUint64(40, flags, true);
  return new Uint8Array(attributes.buffer);
}

/** The kernel's limit of `frequencyHz`; it lowers it when sampling takes too long. */
export function maxSampleRate(): number {
  return Number(readFileSync('/proc/sys/kernel/perf_event_max_sample_rate', 'utf8'));
}

function checkOptions({ event, frequencyHz, period, pid = -1, cpu = -1 }: PerfEventOptions): void {
  if (typeof event === 'string' && !(event in PERF_EVENTS)) throw new TypeError(`unknown perf event: ${event}`);
  if (frequencyHz !== undefined && period !== undefined) throw new TypeError('give frequencyHz or period, not both');
  checkPeriod(frequencyHz !== undefined ? 'frequencyHz' : 'period', frequencyHz ?? period ?? 1);
  if (!Number.isInteger(pid) || pid < -1) throw new RangeError(`pid cannot be ${pid}`);
  if (!Number.isInteger(cpu) || cpu < -1) throw new RangeError(`cpu cannot be ${cpu}`);
  if (pid === -1 && cpu === -1) throw new TypeError('give a pid, a cpu, or both');
}

function checkPeriod(what: string, value: number): void {
  if (!Number.isSafeInteger(value) || value < 1)
    throw new RangeError(`${what} must be a positive integer, not ${value}`);
}

function isClock(event: PerfEventOptions['event']): boolean {
  const [type, config] = typeof event === 'string' ? PERF_EVENTS[event] : [event.type, Number(event.config)];
  return type === TYPE_SOFTWARE && (config === PERF_EVENTS.cpuClock[1] || config === PERF_EVENTS.taskClock[1]);
}

export class PerfEvent {
  /** For programs and readers of this package. */
  readonly handle: PerfEventHandle;
  readonly #byFrequency: boolean;
  readonly #isClock: boolean;

  private constructor(handle: PerfEventHandle, byFrequency: boolean, isClock: boolean) {
    this.handle = handle;
    this.#byFrequency = byFrequency;
    this.#isClock = isClock;
  }

  /**
   * @throws BpfError if the kernel refuses it (`ENOENT`: no such event on this machine, `ENODEV`: the CPU is offline,
   * `ESRCH`: no such pid)
   */
  static open(options: PerfEventOptions): PerfEvent {
    checkOptions(options);
    const { event, frequencyHz, pid = -1, cpu = -1 } = options;
    try {
      const handle = native().perfEventOpen(encodeAttributes(options), pid, cpu);
      return new PerfEvent(handle, frequencyHz !== undefined, isClock(event));
    } catch (error) {
      throw error instanceof BpfError ? explainRate(error, frequencyHz) : error;
    }
  }

  get fd(): number {
    return native().fileDescriptor(this.handle);
  }

  enable(): void {
    native().perfEventEnable(this.handle);
  }

  disable(): void {
    native().perfEventDisable(this.handle);
  }

  /** For an event that was opened by frequency. Takes effect at the next overflow at the latest. */
  setFrequency(frequencyHz: number): void {
    checkPeriod('frequencyHz', frequencyHz);
    if (!this.#byFrequency) throw new TypeError('the event was opened by period');
    const limit = maxSampleRate();
    if (frequencyHz > limit) throw aboveLimit('set frequency of perf event', frequencyHz, limit);
    // The kernel turns the frequency of a clock into a period when it opens it (perf_swevent_init_hrtimer) and takes what
    // it is given later as one: nanoseconds. Given hertz, the clock would fire as fast as it can.
    const value = this.#isClock ? Math.round(1e9 / frequencyHz) : frequencyHz;
    native().perfEventSetPeriod(this.handle, BigInt(value));
  }

  /** For an event that was opened by period. */
  setPeriod(period: number): void {
    checkPeriod('period', period);
    if (this.#byFrequency) throw new TypeError('the event was opened by frequency');
    native().perfEventSetPeriod(this.handle, BigInt(period));
  }

  /** What was counted so far; ns for the clocks. */
  read(): number {
    return native().perfEventRead(this.handle);
  }

  close(): void {
    native().close(this.handle);
  }
}

function aboveLimit(operation: string, frequencyHz: number, limit: number): BpfError {
  const detail = `${frequencyHz} Hz is above kernel.perf_event_max_sample_rate, which is ${limit}`;
  return new BpfError({ operation, errno: constants.errno.EINVAL, detail });
}

/** The kernel answers EINVAL to many things; this one can be told. */
function explainRate(error: BpfError, frequencyHz: number | undefined): BpfError {
  if (error.code !== 'EINVAL' || frequencyHz === undefined) return error;
  const limit = maxSampleRate();
  return frequencyHz > limit ? aboveLimit(error.operation, frequencyHz, limit) : error;
}
