// SPDX-License-Identifier: Apache-2.0
/**
 * Kubelets and CNI plugins change kernel settings of the machine. The first node of the machine saves them and the last
 * one, of whichever cluster, puts them back.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const SETTINGS = [
  'vm/overcommit_memory',
  'vm/panic_on_oom',
  'kernel/panic',
  'kernel/panic_on_oops',
  'kernel/keys/root_maxkeys',
  'kernel/keys/root_maxbytes',
  'net/ipv4/ip_forward',
];

/** On a tmpfs: what a reboot resets, it forgets. */
const RECORD = '/run/plumbline-nodes';
const SAVED = 'settings.json';

/** Notes that the node `id` may change settings from now on. */
export function borrowHostSettings(id: string): void {
  mkdirSync(RECORD, { recursive: true });
  const values = Object.fromEntries(SETTINGS.map((name) => [name, readFileSync(`/proc/sys/${name}`, 'utf8').trim()]));
  try {
    writeFileSync(join(RECORD, SAVED), JSON.stringify(values), { flag: 'wx' });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error; // saved by an earlier node
  }
  writeFileSync(join(RECORD, id), '');
}

/** Notes that the node `id` is gone; restores the settings if it was the last. */
export function returnHostSettings(id: string): void {
  rmSync(join(RECORD, id), { force: true });
  if (!existsSync(RECORD) || readdirSync(RECORD).some((name) => name !== SAVED)) return;
  const values = JSON.parse(readFileSync(join(RECORD, SAVED), 'utf8')) as Record<string, string>;
  for (const [name, value] of Object.entries(values)) writeFileSync(`/proc/sys/${name}`, value);
  rmSync(RECORD, { recursive: true });
}
