// SPDX-License-Identifier: Apache-2.0
/** What a cluster could leave behind on the machine, in a form that compares before with after. */
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { cgroupHierarchies } from './cgroups.ts';

export interface MachineState {
  readonly addresses: readonly string[];
  readonly links: readonly string[];
  readonly mounts: readonly string[];
  readonly cgroups: readonly string[];
  readonly settings: readonly string[];
  readonly programs: readonly string[];
}

const SETTINGS = [
  'vm/overcommit_memory',
  'kernel/panic',
  'kernel/panic_on_oops',
  'kernel/keys/root_maxkeys',
  'net/ipv4/ip_forward',
];
const PROGRAMS = /\/(etcd|kube-[a-z-]+|kubelet|containerd[a-z0-9-]*|runc|otelcol)$/;

/** `mark`: only mounts and programs that name it in their path or arguments are listed (others come and go). */
export function machineState(mark: string): MachineState {
  const ip = (...args: string[]) => JSON.parse(execFileSync('ip', ['-json', ...args], { encoding: 'utf8' }));
  const interfaces = ip('address', 'show') as { ifname: string; addr_info: { local: string }[] }[];
  return {
    addresses: interfaces.flatMap((i) => i.addr_info.map((address) => `${i.ifname} ${address.local}`)).sort(),
    links: interfaces.map((i) => i.ifname).sort(),
    mounts: readFileSync('/proc/self/mounts', 'utf8')
      .split('\n')
      .filter((line) => line.includes(mark)),
    cgroups: cgroupHierarchies().flatMap((root) =>
      readdirSync(root)
        .filter((name) => /^(kubepods|plumbline)/.test(name))
        .map((name) => `${root}/${name}`),
    ),
    settings: SETTINGS.filter((name) => existsSync(`/proc/sys/${name}`)).map(
      (name) => `${name}=${readFileSync(`/proc/sys/${name}`, 'utf8').trim()}`,
    ),
    programs: readdirSync('/proc')
      .filter((pid) => /^\d+$/.test(pid))
      .flatMap((pid) => {
        try {
          const args = readFileSync(`/proc/${pid}/cmdline`, 'latin1').split('\0');
          return PROGRAMS.test(args[0]) && args.join(' ').includes(mark) ? [`${pid} ${args[0]}`] : [];
        } catch {
          return []; // it ended meanwhile
        }
      }),
  };
}
