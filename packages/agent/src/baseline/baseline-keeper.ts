// SPDX-License-Identifier: Apache-2.0
/** Keeps the baselines of a running agent: takes in each interval, writes them to disk now and then. */
import type { Clock } from '../clock.ts';
import type { Logger } from '../log.ts';
import type { StackCount } from '../samples/aggregate.ts';
import { outcomeNames } from '../samples/decode.ts';
import { type Baseline, type BaselineCounts, Baselines } from './baselines.ts';
import { KeptBaselines } from './kept-baselines.ts';

export interface BaselineKeeperOptions {
  readonly stateDirectory: string;
  readonly clock: Clock;
  readonly log: Logger;
}

/** An agent that is killed loses no more than this: ms. */
const SAVE_INTERVAL_MS = 5 * 60_000;

export class BaselineKeeper {
  readonly baselines = new Baselines();
  readonly #options: BaselineKeeperOptions;
  readonly #kept: KeptBaselines;
  /** Files that could not be used. */
  rejected = 0;
  #savedAt: number;
  #changed = false;
  #saveFailed = false;

  constructor(options: BaselineKeeperOptions) {
    this.#options = options;
    this.#kept = new KeptBaselines(options.stateDirectory);
    this.#savedAt = options.clock.wallMs();
    const loaded = this.#kept.load();
    this.baselines.restore(loaded.entries);
    if (loaded.outcome !== 'rejected') return;
    this.rejected++;
    options.log.warn('the baselines on disk cannot be used and start anew', {
      path: this.#kept.path,
      reason: loaded.why,
    });
  }

  /**
   * @param policies names by policy number, from 1
   * @param workload names the workload of a stack
   */
  observe(counts: readonly StackCount[], policies: readonly string[], workload: (count: StackCount) => string): void {
    const now = this.#options.clock.wallMs();
    const sums = new Map<string, { policy: string; workload: string; counts: BaselineCounts }>();
    for (const count of counts) {
      const policy = policies[count.stack.policy - 1];
      const outcome = outcomeNames[count.stack.reason] ?? 'truncated';
      const isUser = outcome === 'complete' || outcome === 'recovered' || outcome === 'truncated';
      if (policy === undefined || !isUser) continue;
      const name = workload(count);
      const key = `${policy}\0${name}`;
      const { samples, truncated, frames } = sums.get(key)?.counts ?? { samples: 0, truncated: 0, frames: 0 };
      const added = {
        samples: samples + count.count,
        truncated: truncated + (outcome === 'truncated' ? count.count : 0),
        frames: frames + count.stack.user.length * count.count,
      };
      sums.set(key, { policy, workload: name, counts: added });
    }
    for (const sum of sums.values()) this.baselines.add(sum.policy, sum.workload, sum.counts, now);
    if (sums.size > 0) this.#changed = true;
    if (now - this.#savedAt >= SAVE_INTERVAL_MS) this.save();
  }

  /** Over all workloads of these policies; undefined while too little is known. */
  ofPolicies(policies: readonly string[]): Baseline | undefined {
    return this.baselines.ofPolicies(new Set(policies), this.#options.clock.wallMs());
  }

  of(policy: string, workload: string): Baseline | undefined {
    return this.baselines.of(policy, workload, this.#options.clock.wallMs());
  }

  recent(limit: number) {
    return this.baselines.recent(limit, this.#options.clock.wallMs());
  }

  /** Where the folder cannot be written, says so once and goes on without. */
  save(): void {
    const { clock, log } = this.#options;
    this.#savedAt = clock.wallMs();
    if (!this.#changed) return;
    try {
      this.#kept.save(this.baselines.entries());
      this.#changed = false;
      this.#saveFailed = false;
    } catch (error) {
      if (!this.#saveFailed) log.warn('baselines cannot be kept on disk', { error: (error as Error).message });
      this.#saveFailed = true;
    }
  }
}
