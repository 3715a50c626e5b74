// SPDX-License-Identifier: Apache-2.0
/** Removes a node from the machine, by what it wrote down of itself when it started. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { removeCgroup } from './cgroups.ts';
import { Daemon } from './daemon.ts';
import { returnHostSettings } from './host-settings.ts';
import { waitUntil } from './wait-until.ts';

/** Everything on the machine that belongs to a node. */
export interface NodeTraces {
  readonly id: string;
  readonly directory: string;
  readonly socket: string;
  readonly runc: string;
  readonly runcRoot: string;
  readonly address: string;
  readonly bridge: string;
  readonly cgroup: string;
}

const TRACES_FILE = 'node.json';

/** Makes the node's folder and writes its traces there, before the first of them exists. */
export function recordNode(traces: NodeTraces): void {
  mkdirSync(traces.directory);
  writeFileSync(join(traces.directory, TRACES_FILE), JSON.stringify(traces));
}

/**
 * Removes what a node (of this or an earlier program) left: it takes nothing for granted, so it also cleans up after
 * daemons that were killed. Pods are killed, not asked to end.
 */
export async function removeNode(directory: string): Promise<void> {
  const file = join(directory, TRACES_FILE);
  if (!existsSync(file)) return;
  const traces = JSON.parse(readFileSync(file, 'utf8')) as NodeTraces;
  await Daemon.find(directory, 'kubelet')?.stop(); // first: it would start containers anew
  deleteContainers(traces);
  await killShims(traces.socket);
  await Daemon.find(directory, 'containerd')?.stop();
  unmountBelow(directory);
  tryCommand('ip', 'link', 'delete', traces.bridge);
  tryCommand('ip', 'address', 'delete', `${traces.address}/32`, 'dev', 'lo');
  await removeCgroup(traces.cgroup);
  returnHostSettings(traces.id);
  rmSync(directory, { recursive: true });
}

function deleteContainers({ runc, runcRoot }: NodeTraces): void {
  const root = join(runcRoot, 'k8s.io');
  if (!existsSync(root)) return;
  for (const container of readdirSync(root)) tryCommand(runc, '--root', root, 'delete', '--force', container);
}

/** Shims are nobody's children; they name containerd's socket in their command line. */
async function killShims(socket: string): Promise<void> {
  const shims = () =>
    readdirSync('/proc').filter((pid) => {
      if (!/^\d+$/.test(pid)) return false;
      try {
        const args = readFileSync(`/proc/${pid}/cmdline`, 'latin1').split('\0');
        return args[0].includes('containerd-shim') && args.includes(socket);
      } catch {
        return false; // it ended meanwhile
      }
    });
  await waitUntil('containerd shims to end', () => {
    const running = shims();
    for (const pid of running) process.kill(Number(pid), 'SIGKILL');
    return running.length === 0;
  });
}

function unmountBelow(directory: string): void {
  const mountPoints = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[4])
    .filter((path) => path?.startsWith(`${directory}/`));
  for (const path of mountPoints.toReversed()) tryCommand('umount', '--lazy', path);
}

/** For commands that fail when there is nothing left to remove. */
function tryCommand(command: string, ...args: string[]): void {
  try {
    execFileSync(command, args, { stdio: 'pipe' });
  } catch {}
}
