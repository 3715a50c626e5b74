// SPDX-License-Identifier: Apache-2.0
/** The commands of `kubectl plumbline`. */
import type { CommandEntry } from '../commands.ts';

export const KUBECTL_COMMANDS: readonly CommandEntry[] = [
  {
    name: 'status',
    summary: 'Policies with their objectives, nodes by strategy and kernel, and what newer kernels would lift',
    load: async () => (await import('./status.ts')).statusCommand,
  },
  {
    name: 'top',
    summary: 'Workloads with the most truncated stacks in the last minutes, beside what is usual for them',
    load: async () => (await import('./top.ts')).topCommand,
  },
  {
    name: 'explain',
    summary: 'Say why stacks of a workload are cut, in which files, and what to do about it',
    load: async () => (await import('./explain.ts')).explainCommand,
  },
  {
    name: 'flame',
    summary: 'A flame graph of a workload over all nodes, as an HTML page',
    load: async () => (await import('./flame.ts')).flameCommand,
  },
];
