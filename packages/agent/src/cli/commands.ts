// SPDX-License-Identifier: Apache-2.0
/** The list of commands. Each loads on its own, so that a recording does not pay for an HTTP server. */
import type { Command } from './command.ts';

export interface CommandEntry {
  readonly name: string;
  readonly summary: string;
  readonly load: () => Promise<Command>;
}

export const COMMANDS: readonly CommandEntry[] = [
  {
    name: 'record',
    summary: 'Profile a process, a command or the whole machine, and write the profile',
    load: async () => (await import('./record.ts')).recordCommand,
  },
  {
    name: 'agent',
    summary: 'Profile this node until stopped, as a configuration says, and ship the profiles',
    load: async () => (await import('./agent.ts')).agentCommand,
  },
  {
    name: 'doctor',
    summary: 'Say what this kernel offers, what is missing, and what to do about it',
    load: async () => (await import('./doctor.ts')).doctorCommand,
  },
  {
    name: 'verify',
    summary: 'Walk stacks twice, in the kernel and by an independent unwinder, and compare them',
    load: async () => (await import('./verify.ts')).verifyCommand,
  },
  {
    name: 'explain',
    summary: 'Say why stacks are cut, in which files and processes, and what to do about it',
    load: async () => (await import('./explain.ts')).explainCommand,
  },
  {
    name: 'version',
    summary: 'Print the version',
    load: async () => (await import('./version.ts')).versionCommand,
  },
];
