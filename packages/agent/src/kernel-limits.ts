// SPDX-License-Identifier: Apache-2.0
/** What the kernel of this node lacks and a newer one would lift: for the status of the node, and for advice. */
import { type KernelLimit, MAX_KERNEL_LIMITS } from '@plumbline/api';
import type { KernelReport } from '@plumbline/bpf';

/** What was found missing by trying; what could not be told, for want of rights, is left out. */
export function kernelLimits(report: Pick<KernelReport, 'features'>): KernelLimit[] {
  return Object.values(report.features)
    .filter(({ supported }) => supported === false)
    .slice(0, MAX_KERNEL_LIMITS)
    .map(({ name, since, without }) => ({ feature: name, since, effect: without.slice(0, 256) }));
}

let here: readonly KernelLimit[] = [];

/** Tries the running kernel, once; takes some 100 ms. Where nothing can be tried, nothing is known. */
export async function probeKernelLimits(): Promise<void> {
  if (probed) return;
  probed = true;
  try {
    const { features } = await import('@plumbline/bpf');
    here = kernelLimits(features());
  } catch {
    here = []; // without the addon; whoever needs it says so
  }
}

let probed = false;

/** Of the running kernel, as far as it was probed. */
export function kernelLimitsHere(): readonly KernelLimit[] {
  return here;
}
