// SPDX-License-Identifier: Apache-2.0
/** How many walks the kernel side remembers (packages/bpf/bpf/checkpoint.bpf.h): memories lie apart for each CPU. */
import { limits } from '@plumbline/bpf';

/** Of one memory: its head and its frames (struct memory of walk.bpf.h). */
export const MEMORY_BYTES = 16 + 32 * (limits.MAX_USER_FRAMES + limits.SPLICED_PER_TURN);
/** For all together: bytes. */
const MAX_BYTES = 24 << 20;
const MOST_PER_CPU = 16;

export function memoriesPerCpu(cpus: number): number {
  return Math.max(1, Math.min(MOST_PER_CPU, Math.floor(MAX_BYTES / (cpus * MEMORY_BYTES))));
}
