// SPDX-License-Identifier: Apache-2.0
/** What tests on the real kernel share: when to run, and small BPF objects of their own. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { buildDirectory, compileBpf } from '../scripts/compile-bpf.ts';
import { effectiveCapabilities } from '../src/index.ts';

/** Options of a suite that needs BPF. On CI nothing is skipped: a lack of rights fails the tests there. */
export function needsBpf(): { skip: string | false; timeout: number } {
  const held = effectiveCapabilities();
  const permitted = held.has('CAP_SYS_ADMIN') || (held.has('CAP_BPF') && held.has('CAP_PERFMON'));
  return {
    skip: permitted || process.env.CI === 'true' ? false : 'needs root, or CAP_BPF and CAP_PERFMON',
    timeout: 60_000,
  };
}

/** Path of `test/bpf/<name>.bpf.c`, compiled. */
export function testObject(name: string): string {
  const output = join(buildDirectory, 'test', `${name}.bpf.o`);
  compileBpf(join(import.meta.dirname, 'bpf', `${name}.bpf.c`), output);
  return output;
}

/** Open file descriptors of this process that are of BPF or perf, or counters of events. */
export function kernelDescriptors(): string[] {
  return readdirSync('/proc/self/fdinfo').flatMap((fd) => {
    try {
      const info = readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8');
      return /^(map_type|prog_type|link_type|eventfd-count|tfd):?/m.test(info) ? [fd] : [];
    } catch {
      return []; // closed meanwhile: the one that listed the folder
    }
  });
}

/** Resolves once `condition` holds. @throws Error after `timeoutMs` */
export async function until(condition: () => boolean, what: string, timeoutMs = 20_000): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`waited ${timeoutMs} ms in vain: ${what}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}
