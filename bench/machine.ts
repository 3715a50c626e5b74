// SPDX-License-Identifier: Apache-2.0
import { cpus, loadavg, release, totalmem } from 'node:os';

/** What the figures were taken on. */
export function machine(): string {
  const model = cpus()[0]?.model.trim() ?? 'unknown processor';
  return `${cpus().length} CPUs (${model}), ${Math.round(totalmem() / 2 ** 30)} GiB, Linux ${release()}, load ${loadavg()[0].toFixed(1)} at the start`;
}
