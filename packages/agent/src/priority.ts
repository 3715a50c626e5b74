// SPDX-License-Identifier: Apache-2.0
import { getPriority, setPriority } from 'node:os';

/** As far above ordinary programs as helps on a machine whose CPUs are all busy; real-time work still goes first. */
const NICE = -10;

/**
 * Puts this thread, and threads that it starts from now on, before ordinary programs: a process that lives 50 ms has to be
 * known before it is gone, and what the profiler does is short. Needs CAP_SYS_NICE; without it nothing changes. Returns
 * what undoes it.
 */
export function raisePriority(): () => void {
  const before = getPriority();
  if (before <= NICE) return () => {};
  try {
    setPriority(NICE);
  } catch {
    return () => {};
  }
  return () => setPriority(before);
}
