// SPDX-License-Identifier: Apache-2.0
/** Runs perf beside a recording and compares. Whatever perf does, the recording goes on: why it could not be used is an outcome. */
import { listDescendants } from '../processes/proc-fs.ts';
import type { RawStack, RecordProgress } from '../recording-options.ts';
import { comparePerf, type PerfComparison, sitesOf } from './perf-comparison.ts';
import { PerfRecording } from './perf-recording.ts';

export type PerfOutcome = PerfComparison | { readonly unavailable: string };

export class PerfCheck {
  readonly #perf: string | undefined;
  readonly #pids: readonly number[];
  readonly #frequency: number;
  #recording: PerfRecording | undefined;
  #stopped: Promise<void> | undefined;

  /** @param perf path of the program; undefined: not installed */
  constructor(perf: string | undefined, pids: readonly number[], frequency: number) {
    this.#perf = perf;
    this.#pids = pids.flatMap((pid) => [pid, ...listDescendants(pid)]);
    this.#frequency = frequency;
  }

  /** Samples as long as the recording does. */
  follow(phase: RecordProgress['phase']): void {
    if (phase === 'recording' && this.#perf !== undefined)
      this.#recording ??= new PerfRecording(this.#perf, this.#pids, this.#frequency);
    if (phase === 'finishing') this.#stopped ??= this.#recording?.stop();
  }

  async compare(ours: Iterable<RawStack>): Promise<PerfOutcome> {
    if (this.#perf === undefined) return { unavailable: 'perf is not installed' };
    if (this.#recording === undefined) return { unavailable: 'the recording ended before perf could begin' };
    try {
      await this.#stopped;
      return comparePerf(sitesOf(ours), await this.#recording.stacks());
    } catch (error) {
      return { unavailable: (error as Error).message };
    }
  }

  async close(): Promise<void> {
    await this.#recording?.close();
  }
}
