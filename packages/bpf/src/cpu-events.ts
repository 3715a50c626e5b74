// SPDX-License-Identifier: Apache-2.0
/** The same perf event on each CPU that is online, while CPUs come and go. */
import { readFileSync } from 'node:fs';
import { BpfError } from './errors.ts';
import { PerfEvent, type PerfEventOptions } from './perf-event.ts';
import type { BpfLink, BpfProgram } from './program.ts';

/** Numbers in a list of the kernel's, e.g. `0-3,6`. @throws RangeError if it is not such a list */
export function parseCpuList(list: string): number[] {
  const cpus: number[] = [];
  for (const part of list.trim().split(',')) {
    if (part === '') continue;
    const range = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(part);
    if (!range) throw new RangeError(`not a list of CPUs: ${list}`);
    const last = Number(range[2] ?? range[1]);
    for (let cpu = Number(range[1]); cpu <= last; cpu++) cpus.push(cpu);
  }
  return cpus;
}

export function onlineCpus(): number[] {
  return parseCpuList(readFileSync('/sys/devices/system/cpu/online', 'utf8'));
}

/** What a CPU that went offline since the list was read answers. */
const isOffline = (error: unknown) => error instanceof BpfError && error.code === 'ENODEV';

export class CpuEvents {
  readonly #options: Omit<PerfEventOptions, 'cpu'>;
  readonly #program: BpfProgram | undefined;
  readonly #onOpen: ((event: PerfEvent, cpu: number) => void) | undefined;
  readonly #open = new Map<number, { event: PerfEvent; link?: BpfLink }>();
  #frequencyHz: number | undefined;
  #enabled = false;

  private constructor(
    options: Omit<PerfEventOptions, 'cpu'>,
    program?: BpfProgram,
    onOpen?: (event: PerfEvent, cpu: number) => void,
  ) {
    this.#options = options;
    this.#program = program;
    this.#onOpen = onOpen;
    this.#frequencyHz = options.frequencyHz;
  }

  /**
   * Opens the event on all CPUs, disabled.
   * @param program runs at each overflow
   * @param onOpen is called for each event that is opened, also later, before it is enabled
   * @throws BpfError if one CPU refuses; then none is left open
   */
  static open(
    options: Omit<PerfEventOptions, 'cpu' | 'disabled'>,
    { program, onOpen }: { program?: BpfProgram; onOpen?: (event: PerfEvent, cpu: number) => void } = {},
  ): CpuEvents {
    const events = new CpuEvents(options, program, onOpen);
    try {
      events.refresh();
    } catch (error) {
      events.close();
      throw error;
    }
    return events;
  }

  /** Those that the event is open on. */
  get cpus(): number[] {
    return [...this.#open.keys()];
  }

  enable(): void {
    this.#enabled = true;
    for (const { event } of this.#open.values()) event.enable();
  }

  disable(): void {
    this.#enabled = false;
    for (const { event } of this.#open.values()) event.disable();
  }

  /** Also of CPUs that come later. */
  setFrequency(frequencyHz: number): void {
    for (const { event } of this.#open.values()) event.setFrequency(frequencyHz);
    this.#frequencyHz = frequencyHz;
  }

  /**
   * Follows CPUs that came or went since; call it now and then. A CPU that went and came back between two calls is not
   * noticed: its event counts no more.
   */
  refresh(): { opened: number[]; closed: number[] } {
    const online = onlineCpus();
    const closed = this.cpus.filter((cpu) => !online.includes(cpu));
    for (const cpu of closed) this.#closeCpu(cpu);
    const opened = online.filter((cpu) => !this.#open.has(cpu) && this.#openCpu(cpu));
    return { opened, closed };
  }

  #openCpu(cpu: number): boolean {
    let event: PerfEvent;
    try {
      event = PerfEvent.open({ ...this.#options, frequencyHz: this.#frequencyHz, cpu, disabled: true });
    } catch (error) {
      if (isOffline(error)) return false;
      throw error;
    }
    try {
      const link = this.#program?.attachPerfEvent(event);
      this.#open.set(cpu, { event, link });
      this.#onOpen?.(event, cpu);
      if (this.#enabled) event.enable();
    } catch (error) {
      if (this.#open.has(cpu)) this.#closeCpu(cpu);
      else event.close();
      throw error;
    }
    return true;
  }

  #closeCpu(cpu: number): void {
    const { event, link } = this.#open.get(cpu)!;
    link?.close();
    event.close();
    this.#open.delete(cpu);
  }

  close(): void {
    for (const cpu of this.cpus) this.#closeCpu(cpu);
  }
}
