// SPDX-License-Identifier: Apache-2.0
import { z } from 'zod';

/** A feature that a kernel lacks, found by trying (packages/bpf/src/features.ts). */
export const KernelLimit = z.object({
  feature: z.string().min(1).max(64).describe('What the kernel lacks.'),
  since: z.string().max(32).describe('First kernel that has it.'),
  effect: z.string().max(256).describe('What is done without it, which a newer kernel lifts.'),
});
export type KernelLimit = z.infer<typeof KernelLimit>;

export const MAX_KERNEL_LIMITS = 8;
