// SPDX-License-Identifier: Apache-2.0
/** What a recording needs of the machine, checked in a few milliseconds before anything is opened or started. */
import { existsSync } from 'node:fs';
import { AgentError } from '../errors.ts';

export interface MachineFacts {
  /** Names such as `CAP_BPF` in the effective set of this process. */
  readonly capabilities: ReadonlySet<string>;
  readonly lockdown: 'none' | 'integrity' | 'confidentiality';
  readonly hasBtf: boolean;
}

export const KERNEL_BTF = '/sys/kernel/btf/vmlinux';

/**
 * What each capability is needed for. CAP_SYS_ADMIN stands in for CAP_BPF and CAP_PERFMON (capabilities(7)), and is the
 * only one that kernels before 5.8 know.
 */
export const CAPABILITY_USES = [
  { name: 'CAP_BPF', use: 'load BPF programs and maps', required: true, adminSuffices: true },
  { name: 'CAP_PERFMON', use: 'sample CPUs and read stacks', required: true, adminSuffices: true },
  {
    name: 'CAP_SYS_PTRACE',
    use: 'see mappings and files of processes of other users',
    required: true,
    adminSuffices: false,
  },
  {
    name: 'CAP_DAC_READ_SEARCH',
    use: 'read executables that only their owner may read',
    required: false,
    adminSuffices: false,
  },
  { name: 'CAP_CHECKPOINT_RESTORE', use: 'open mapped files that were deleted', required: false, adminSuffices: true },
  {
    name: 'CAP_SYSLOG',
    use: 'name kernel functions where kernel.kptr_restrict is 1',
    required: false,
    adminSuffices: false,
  },
  {
    name: 'CAP_SYS_RESOURCE',
    use: 'raise the memory lock limit on kernels before 5.11',
    required: false,
    adminSuffices: false,
  },
] as const;

export function holds(capability: (typeof CAPABILITY_USES)[number], held: ReadonlySet<string>): boolean {
  return held.has(capability.name) || (capability.adminSuffices && held.has('CAP_SYS_ADMIN'));
}

/** Throws what keeps this process from profiling, with what to do about it. */
export function checkMachine(facts: MachineFacts): void {
  const missing = CAPABILITY_USES.filter((capability) => capability.required && !holds(capability, facts.capabilities));
  if (missing.length > 0) {
    const names = missing.map(({ name }) => name).join(', ');
    throw new AgentError(
      'not_permitted',
      `this process lacks ${names}`,
      'run it as root (sudo plumbline ...), or grant these capabilities',
    );
  }
  if (facts.lockdown === 'confidentiality') {
    const message = 'kernel lockdown is in confidentiality mode, which forbids BPF programs to read memory';
    throw new AgentError('not_permitted', message, 'boot with lockdown=integrity or without it');
  }
  if (!facts.hasBtf) {
    const message = `the kernel does not describe its types: ${KERNEL_BTF} is missing`;
    const remedy =
      'boot a kernel built with CONFIG_DEBUG_INFO_BTF, and mount /sys where it is a container that lacks it';
    throw new AgentError('btf_missing', message, remedy);
  }
}

export async function machineFacts(): Promise<MachineFacts> {
  const { effectiveCapabilities, lockdownMode } = await import('@plumbline/bpf');
  return { capabilities: effectiveCapabilities(), lockdown: lockdownMode(), hasBtf: existsSync(KERNEL_BTF) };
}
