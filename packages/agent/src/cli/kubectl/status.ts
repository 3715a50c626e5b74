// SPDX-License-Identifier: Apache-2.0
import { findCondition, type NodeProfilingConfig, type ProfilingPolicy } from '@plumbline/api';
import type { Command } from '../command.ts';
import { percent } from '../outcome-table.ts';
import { alignedTable } from '../table.ts';
import { type Paint, paintFor } from '../terminal.ts';
import { CLUSTER_FLAGS, Cluster } from './cluster.ts';

export const statusCommand: Command = {
  name: 'status',
  summary: 'Policies with their objectives, nodes by strategy and kernel, and what newer kernels would lift.',
  usage: ['[flags]'],
  flags: [
    ...CLUSTER_FLAGS,
    { name: 'json', help: 'Print a JSON object: the status of each policy, and nodes by kernel.' },
  ],
  examples: [{ what: 'How complete the stacks of the cluster are', command: 'kubectl plumbline status' }],
  async run(args, { stdout, env }) {
    const [policies, nodes] = await Cluster.use(args, (cluster) =>
      Promise.all([cluster.policies(), cluster.nodeConfigs()]),
    );
    stdout.write(
      args.flags.json === true
        ? `${JSON.stringify(jsonStatus(policies, nodes), null, 2)}\n`
        : `${statusText(policies, nodes, paintFor(stdout, env))}\n`,
    );
    return 0;
  },
};

/** Nodes that are not ready which are named. */
const MAX_NAMED = 10;

function jsonStatus(policies: readonly ProfilingPolicy[], nodes: readonly NodeProfilingConfig[]): object {
  return {
    policies: policies.map(({ metadata: { name }, status = {} }) => ({ name, ...status, lastGood: undefined })),
    nodes: nodeGroups(nodes),
    notReady: notReady(nodes),
  };
}

export function statusText(
  policies: readonly ProfilingPolicy[],
  nodes: readonly NodeProfilingConfig[],
  paint: Paint,
): string {
  const sections = [policySection(policies, paint), nodeSection(nodes, paint), kernelSection(nodes, paint)];
  return sections.filter(Boolean).join('\n\n');
}

function policySection(policies: readonly ProfilingPolicy[], paint: Paint): string {
  if (policies.length === 0) return 'No policies: nothing is profiled.';
  const headings = [
    'POLICY',
    'READY',
    'NODES',
    'OBJECTIVE',
    'TRUNCATED',
    'OBJECTIVE MET',
    'USUAL',
    'DEPTH',
    'USUAL',
    'WORST WORKLOAD',
    'TOP REASON',
  ];
  const rows = policies.map(({ metadata: { name }, spec, status = {} }) => {
    const { nodes, truncation, conditions } = status;
    const met = findCondition(conditions, 'ObjectiveMet')?.status ?? 'Unknown';
    return [
      name,
      findCondition(conditions, 'Ready')?.status ?? 'Unknown',
      nodes ? `${nodes.applied}/${nodes.targeted}` : '-',
      percent(Number(spec.objective?.truncatedRatio ?? '0.01')),
      truncation?.ratio === undefined ? '-' : percent(Number(truncation.ratio)),
      paint(met === 'False' ? 'red' : met === 'True' ? 'green' : 'dim', met),
      truncation?.baselineRatio === undefined ? '-' : percent(Number(truncation.baselineRatio)),
      String(truncation?.depth ?? '-'),
      String(truncation?.baselineDepth ?? '-'),
      truncation?.worstWorkload ?? '-',
      truncation?.topReason ?? '-',
    ];
  });
  const missed = policies.flatMap(({ metadata: { name }, status = {} }) => {
    const condition = findCondition(status.conditions, 'ObjectiveMet');
    return condition?.status === 'False' ? [`${paint('bold', name)}: ${condition.message}`] : [];
  });
  return [alignedTable([headings.map((text) => paint('dim', text)), ...rows], [3, 4, 6, 7, 8], ''), ...missed].join(
    '\n',
  );
}

function nodeSection(nodes: readonly NodeProfilingConfig[], paint: Paint): string {
  if (nodes.length === 0) return 'No nodes.';
  const headings = ['STRATEGY', 'KERNEL', 'NODES', 'READY'];
  const rows = nodeGroups(nodes).map(({ strategy, kernel, count, ready }) => [
    strategy,
    kernel,
    String(count),
    String(ready),
  ]);
  const troubled = notReady(nodes);
  const lines = troubled.slice(0, MAX_NAMED).map(({ node, why }) => `${paint('red', node)}: ${why}`);
  if (troubled.length > MAX_NAMED) lines.push(`and ${troubled.length - MAX_NAMED} more nodes that are not ready`);
  return [alignedTable([headings.map((text) => paint('dim', text)), ...rows], [2, 3], ''), ...lines].join('\n');
}

function kernelSection(nodes: readonly NodeProfilingConfig[], paint: Paint): string {
  const limits = nodes.flatMap(({ status }) => status?.kernelLimits ?? []);
  const groups = [...Map.groupBy(limits, ({ feature }) => feature).values()].sort((a, b) => b.length - a.length);
  if (groups.length === 0) return '';
  const headings = ['A KERNEL FROM', 'ON NODES', 'WOULD LIFT THIS'];
  const rows = groups.map(([first, ...others]) => [first.since, String(others.length + 1), first.effect]);
  return alignedTable([headings.map((text) => paint('dim', text)), ...rows], [0, 1], '');
}

interface NodeGroup {
  readonly strategy: string;
  /** Series, such as 6.1. */
  readonly kernel: string;
  readonly count: number;
  readonly ready: number;
}

function nodeGroups(nodes: readonly NodeProfilingConfig[]): NodeGroup[] {
  const groups = Map.groupBy(nodes, ({ status }) =>
    JSON.stringify([status?.strategy ?? '-', /^\d+\.\d+/.exec(status?.kernel ?? '')?.[0] ?? '-']),
  );
  return [...groups]
    .map(([key, members]) => {
      const [strategy, kernel] = JSON.parse(key) as [string, string];
      const ready = members.filter(
        ({ status }) => findCondition(status?.conditions, 'Ready')?.status === 'True',
      ).length;
      return { strategy, kernel, count: members.length, ready };
    })
    .sort((a, b) => b.count - a.count || (a.kernel < b.kernel ? -1 : 1));
}

/** A node without a report has no agent, which is not for its agent to say. */
function notReady(nodes: readonly NodeProfilingConfig[]): { node: string; why: string }[] {
  return nodes.flatMap(({ metadata: { name: node }, status }) => {
    const ready = findCondition(status?.conditions, 'Ready');
    if (ready === undefined) return [{ node, why: 'no agent has reported' }];
    return ready.status === 'True' ? [] : [{ node, why: `${ready.reason}: ${ready.message}` }];
  });
}
