// SPDX-License-Identifier: Apache-2.0
import { type BpfProgram, PerfEvent } from '@plumbline/bpf';

export interface SamplerOptions {
  /** What fires a sample; see recording-options.ts. */
  readonly event: 'cpu-clock' | 'cycles' | 'context-switches';
  /** Samples per second and CPU; context switches fire one by one. */
  readonly frequency: number;
  /** Only this process (all its threads, also those to come); else every process. */
  readonly pid?: number;
}

export interface Sampler {
  setFrequency(hz: number): void;
  close(): void;
}

/** Perf events on each CPU, with the program attached. Idle CPUs fire nothing. */
export function openSampler(program: BpfProgram, options: SamplerOptions): Sampler {
  const events = PerfEvent.openOnEachCpu(
    options.event === 'context-switches'
      ? { event: options.event, period: 1 }
      : { event: options.event, frequency: options.frequency, excludeIdle: true },
  );
  const links = [];
  try {
    for (const event of events) links.push(program.attachPerfEvent(event));
  } catch (error) {
    for (const event of events) event.close();
    throw error;
  }
  for (const event of events) event.enable();
  return {
    setFrequency(hz) {
      if (options.event !== 'context-switches') for (const event of events) event.setFrequency(hz);
    },
    close() {
      for (const event of events) event.disable();
      for (const link of links) link.close();
      for (const event of events) event.close();
    },
  };
}
