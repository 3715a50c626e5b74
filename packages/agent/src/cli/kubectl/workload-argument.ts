// SPDX-License-Identifier: Apache-2.0
import type { Arguments, Flag } from '../command.ts';
import { usage } from '../flag-values.ts';
import type { Cluster } from './cluster.ts';

export const WORKLOAD_FLAGS: readonly Flag[] = [
  { name: 'namespace', short: 'n', value: 'NAME', help: 'Namespace of the workload. Default: that of the context.' },
  { name: 'host', help: 'The workload is a program of the host, outside of pods.' },
];

/** The workload that the command line names, as agents name it: `namespace/name`, or the program. */
export function readWorkload({ positionals, flags }: Arguments, { namespace }: Pick<Cluster, 'namespace'>): string {
  const [name] = positionals;
  if (name === undefined) throw usage('the workload is missing', 'name it: namespace/name, or a name and --namespace');
  if (flags.host === true) {
    if (flags.namespace !== undefined) throw usage('--host and --namespace exclude each other');
    return name;
  }
  const parts = name
    .replace(/^(deployment|deploy|statefulset|sts|daemonset|ds|job|cronjob|pod|po)(\.apps)?\//, '')
    .split('/');
  if (parts.length > 2 || parts.includes(''))
    throw usage(`${JSON.stringify(name)} is not a workload`, 'write namespace/name');
  if (parts.length === 2 && flags.namespace !== undefined && flags.namespace !== parts[0])
    throw usage(`the workload is of namespace ${parts[0]}, --namespace says ${flags.namespace}`);
  return parts.length === 2 ? parts.join('/') : `${namespace}/${parts[0]}`;
}
