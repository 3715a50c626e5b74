// SPDX-License-Identifier: Apache-2.0
import type { Profile } from '../profile/profile.ts';

/** Takes finished profiles somewhere else. */
export interface Exporter {
  /** Accepts a profile; it may be gone from memory when this resolves. Never rejects: what is lost is counted. */
  export(profile: Profile): Promise<void>;
  /** Delivers or stores what is accepted, within so many milliseconds, then ends. */
  drain(deadlineMs: number): Promise<void>;
}
