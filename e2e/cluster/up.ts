// SPDX-License-Identifier: Apache-2.0
/**
 * `make cluster`: a Kubernetes cluster on this machine to play with, with Plumbline installed and a few workloads. It
 * stays until `make cluster-down`.
 *
 *   node e2e/cluster/up.ts [--nodes N] [--without-chart]
 */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { Cluster, removeLeftovers } from './cluster.ts';
import { PLAYGROUND } from './playground.ts';
import { ensureTools } from './tools.ts';

const { values } = parseArgs({
  options: { nodes: { type: 'string', default: '1' }, 'without-chart': { type: 'boolean' } },
});
const nodes = Number(values.nodes);
const say = (line: string) => process.stderr.write(`${line}\n`);

if (!Number.isInteger(nodes) || nodes < 1 || nodes > 16) {
  say('--nodes: 1 to 16');
  process.exit(2);
}
if (process.getuid?.() !== 0) {
  say('make cluster needs root: it runs a kubelet and containers.');
  process.exit(1);
}
const { kubectl, helm } = await ensureTools(['kubectl', 'helm']);
const environment = `export KUBECONFIG=${PLAYGROUND.kubeconfig} PATH=${dirname(kubectl)}:${dirname(helm)}:$PATH`;
if (existsSync(PLAYGROUND.directory)) {
  say(`There is one already (make cluster-down removes it):\n  ${environment}`);
  process.exit(1);
}
for (const leftover of await removeLeftovers()) say(`removed what a killed test had left in ${leftover}`);

const withChart = !values['without-chart'];
const { controlPlane, collector } = await Cluster.start({
  directory: PLAYGROUND.directory,
  nodes,
  chart: withChart ? {} : false,
  collectorPorts: { grpc: 4317, http: 4318 },
  detached: true,
  progress: (text) => say(`  ${text}`),
});
await controlPlane.kubectl('apply', '-f', join(import.meta.dirname, 'playground', 'workloads.yaml'));
const policy = PLAYGROUND.writePolicy(collector.grpcEndpoint);

say(`
The cluster is up. In your shell:
  ${environment}
  kubectl get nodes,pods -A
${withChart ? `  kubectl apply -f ${policy}\n  kubectl get profpol,npc\n` : ''}
Profiles arrive at the collector, ${collector.grpcEndpoint}:
  ${process.execPath} ${join(import.meta.dirname, 'top.ts')}
Remove it all: make cluster-down`);
