// SPDX-License-Identifier: Apache-2.0
/** What this process has seen of each node's agent, timed by its own clock: wall clocks of other machines may be wrong. */
import type { Clock } from '@plumbline/kube';
import type { NodeConfigView } from './views.ts';

/** Agents write every ten minutes, give or take a fifth; two missed and a bit. */
export const SILENCE_MS = 30 * 60_000;

interface Seen {
  heartbeat: number | undefined;
  /** When the heartbeat last changed. */
  heardAt: number;
  configHash: string;
  /** When the wanted configuration last changed. */
  configuredAt: number;
}

export class AgentActivity {
  readonly #clock: Clock;
  readonly #seen = new Map<string, Seen>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  observe({ name, configHash, status: { lastHeartbeat } }: NodeConfigView): void {
    const now = this.#clock.now();
    const seen = this.#seen.get(name);
    if (!seen) {
      // The first heartbeat may be old: only then is another machine's wall clock looked at.
      const age = lastHeartbeat === undefined ? 0 : Math.max(0, this.#clock.date().getTime() - lastHeartbeat);
      this.#seen.set(name, { heartbeat: lastHeartbeat, heardAt: now - age, configHash, configuredAt: now });
      return;
    }
    if (seen.heartbeat !== lastHeartbeat) {
      seen.heartbeat = lastHeartbeat;
      seen.heardAt = now;
    }
    if (seen.configHash !== configHash) {
      seen.configHash = configHash;
      seen.configuredAt = now;
    }
  }

  forget(name: string): void {
    this.#seen.delete(name);
  }

  /** Whether the agent has been heard of lately. */
  isAlive(name: string): boolean {
    const seen = this.#seen.get(name);
    return seen?.heartbeat !== undefined && this.#clock.now() - seen.heardAt < SILENCE_MS;
  }

  /** Since when the node has been wanted to be as it is now, on the clock. */
  configuredAt(name: string): number | undefined {
    return this.#seen.get(name)?.configuredAt;
  }
}
