// SPDX-License-Identifier: Apache-2.0
import { type BpfProgram, CpuEvents, type PerfEventOptions } from '@plumbline/bpf';

export interface SamplerOptions {
  /** What fires a sample; see recording-options.ts. */
  readonly event: 'cpu-clock' | 'cycles' | 'context-switches';
  /** Samples per second and CPU; context switches fire one by one. */
  readonly frequency: number;
}

export interface Sampler {
  setFrequency(hz: number): void;
  /** Follows CPUs that came or went. */
  refresh(): void;
  close(): void;
}

/** PERF_TYPE_SOFTWARE, PERF_COUNT_SW_CONTEXT_SWITCHES. */
const CONTEXT_SWITCHES = { type: 1, config: 3n };

/** Perf events on each CPU, with the program attached. Idle CPUs fire nothing. */
export function openSampler(program: BpfProgram, options: SamplerOptions): Sampler {
  const bySwitch = options.event === 'context-switches';
  const event: Omit<PerfEventOptions, 'cpu' | 'disabled'> = bySwitch
    ? { event: CONTEXT_SWITCHES, period: 1 }
    : {
        event: options.event === 'cycles' ? 'cpuCycles' : 'cpuClock',
        frequencyHz: options.frequency,
        excludeIdle: true,
      };
  const events = CpuEvents.open(event, { program });
  events.enable();
  return {
    setFrequency(hz) {
      if (!bySwitch) events.setFrequency(hz);
    },
    refresh() {
      events.refresh();
    },
    close() {
      events.disable();
      events.close();
    },
  };
}
