// SPDX-License-Identifier: Apache-2.0
import { setTimeout as delay } from 'node:timers/promises';

/** Time, handed in so that tests decide how it passes. */
export interface Clock {
  /** Milliseconds that never jump, for measuring how long something took. */
  now(): number;
  /** The wall clock, for time stamps that people read. Never compared with another machine's. */
  date(): Date;
  /** Waits. Rejects with the signal's reason when it is aborted. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

export const systemClock: Clock = {
  now: () => performance.now(),
  date: () => new Date(),
  async sleep(ms, signal) {
    try {
      await delay(ms, undefined, { signal });
    } catch (error) {
      throw signal?.aborted ? signal.reason : error;
    }
  },
};

/** The wall clock as metav1.MicroTime: exactly six digits. */
export function microTime(date: Date): string {
  return `${date.toISOString().slice(0, -1)}000Z`;
}
