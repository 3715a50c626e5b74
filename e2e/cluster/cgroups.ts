// SPDX-License-Identifier: Apache-2.0
/** Makes and removes a cgroup in every hierarchy of the machine: cgroup v1, hybrid or v2. */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { waitUntil } from './wait-until.ts';

const CGROUPS = '/sys/fs/cgroup';

/** Roots of the machine's hierarchies: the one of cgroup v2, or each controller's of v1 (and `unified` where hybrid). */
export function cgroupHierarchies(): string[] {
  if (existsSync(join(CGROUPS, 'cgroup.controllers'))) return [CGROUPS];
  const entries = readdirSync(CGROUPS, { withFileTypes: true });
  return entries.filter((entry) => entry.isDirectory()).map((entry) => join(CGROUPS, entry.name));
}

/** The kubelet wants its cgroup to exist. In v1, a new cpuset is empty until it is given processors and memory nodes. */
export function createCgroup(path: string): void {
  for (const hierarchy of cgroupHierarchies()) {
    mkdirSync(hierarchy + path, { recursive: true });
    for (const setting of ['cpuset.cpus', 'cpuset.mems']) {
      const inherited = join(hierarchy, setting);
      if (existsSync(inherited)) writeFileSync(join(hierarchy + path, setting), readFileSync(inherited));
    }
  }
}

export async function removeCgroup(path: string): Promise<void> {
  const removeTree = (directory: string) => {
    for (const entry of readdirSync(directory, { withFileTypes: true })) {
      if (entry.isDirectory()) removeTree(join(directory, entry.name));
    }
    rmdirSync(directory);
  };
  for (const hierarchy of cgroupHierarchies()) {
    // Killed processes stay in their cgroup until they are reaped.
    await waitUntil(`${hierarchy}${path} to be empty`, () => {
      if (existsSync(hierarchy + path)) removeTree(hierarchy + path);
      return true;
    });
  }
}
