// SPDX-License-Identifier: Apache-2.0
import { joinSummaries, type WorkloadSummary } from '../../explain/workload-summary.ts';
import { textOf } from '../arguments.ts';
import type { Command } from '../command.ts';
import { parseIntegerFlag } from '../flag-values.ts';
import { grouped, percent } from '../outcome-table.ts';
import { readSince, SINCE_FLAG } from '../since-flag.ts';
import { alignedTable } from '../table.ts';
import { type Paint, paintFor } from '../terminal.ts';
import { CLUSTER_FLAGS, Cluster } from './cluster.ts';
import { reportSilent } from './silent-agents.ts';

export const topCommand: Command = {
  name: 'top',
  summary: 'List workloads by their truncated stacks in the last minutes, beside what is usual for them.',
  usage: ['[flags]'],
  flags: [
    { name: 'namespace', short: 'n', value: 'NAME', help: 'Only workloads of this namespace.' },
    SINCE_FLAG,
    { name: 'limit', value: 'N', help: 'How many workloads. Default: 20.' },
    ...CLUSTER_FLAGS,
    { name: 'json', help: 'Print a JSON object.' },
  ],
  notes: [
    'USUAL and DEPTH are means over the nodes. A ratio far above the usual one, soon after a deployment, is a regression of it.',
  ],
  examples: [{ what: 'The worst workloads of one namespace', command: 'kubectl plumbline top -n payments' }],
  async run(args, { stdout, stderr, env }) {
    const limit = parseIntegerFlag('--limit', textOf(args, 'limit') ?? '20', 1, 10_000);
    const namespace = textOf(args, 'namespace');
    const since = readSince(args);
    const { asked, answered } = await Cluster.use(args, async (cluster) => {
      const agents = await cluster.agents();
      const query = { since };
      const answered = await cluster.ask<{ workloads: WorkloadSummary[] }>(agents, '/api/workloads', query);
      return { asked: agents.length, answered };
    });
    reportSilent(answered, stderr, paintFor(stderr, env));
    const workloads = joinSummaries(answered.answers.map(({ value }) => value.workloads)).filter(
      ({ workload }) => namespace === undefined || workload.startsWith(`${namespace}/`),
    );
    const shown = workloads.slice(0, limit);
    if (args.flags.json === true) {
      const nodes = { asked, answered: answered.answers.length };
      stdout.write(`${JSON.stringify({ nodes, workloads: shown }, null, 2)}\n`);
    } else stdout.write(`${topTable(shown, workloads.length, paintFor(stdout, env))}\n`);
    return 0;
  },
};

export function topTable(shown: readonly WorkloadSummary[], all: number, paint: Paint): string {
  if (shown.length === 0) return 'No user stacks were sampled.';
  const headings = ['WORKLOAD', 'POLICY', 'SAMPLES', 'TRUNCATED', 'USUAL', 'DEPTH', 'USUAL', 'TOP REASON'];
  const rows = shown.map(({ workload, policy, samples, truncated, truncatedRatio, depth, usual, topReason = '' }) => [
    workload,
    policy || '-',
    grouped(samples),
    truncated === 0
      ? '0.0 %'
      : paint(isWorse(truncatedRatio, usual?.truncatedRatio) ? 'red' : 'yellow', percent(truncatedRatio)),
    usual ? percent(usual.truncatedRatio) : '-',
    depth.toFixed(0),
    usual ? usual.depth.toFixed(0) : '-',
    topReason,
  ]);
  const table = alignedTable([headings.map((text) => paint('dim', text)), ...rows], [2, 3, 4, 5, 6], '');
  return shown.length < all ? `${table}\n${paint('dim', `and ${all - shown.length} more`)}` : table;
}

/** Above one in a hundred, and twice what is usual. */
function isWorse(ratio: number, usual = 0): boolean {
  return ratio > 0.01 && ratio > 2 * usual;
}
