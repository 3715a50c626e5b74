// SPDX-License-Identifier: Apache-2.0
import { setTimeout as delay } from 'node:timers/promises';

export interface WaitOptions {
  /** Milliseconds until it gives up. Default 30,000. */
  readonly timeout?: number;
  /** Milliseconds between attempts. Default 100. */
  readonly interval?: number;
}

type Falsy = false | null | undefined | 0 | '';

/**
 * Polls until `attempt` answers with something truthy, which it returns. An attempt that throws counts as "not yet".
 * @throws Error naming what was waited for, with the last attempt's error as cause, when the time is over.
 */
export async function waitUntil<T>(
  what: string,
  attempt: () => T | Promise<T>,
  { timeout = 30_000, interval = 100 }: WaitOptions = {},
): Promise<Exclude<T, Falsy>> {
  const deadline = performance.now() + timeout;
  for (;;) {
    let cause: unknown;
    try {
      const value = await attempt();
      if (value) return value as Exclude<T, Falsy>;
    } catch (error) {
      cause = error;
    }
    if (performance.now() >= deadline) {
      const last = cause instanceof Error ? `: ${cause.message}` : '';
      throw new Error(`timed out after ${timeout / 1000} s waiting for ${what}${last}`, { cause });
    }
    await delay(interval);
  }
}
