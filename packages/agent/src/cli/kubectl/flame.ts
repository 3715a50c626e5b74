// SPDX-License-Identifier: Apache-2.0

import { AgentError } from '../../errors.ts';
import type { FlameData } from '../../export/flame-graph/flame-data.ts';
import { joinFlameData } from '../../export/flame-graph/join-flame-data.ts';
import { renderPage } from '../../export/flame-graph/page.ts';
import { textOf } from '../arguments.ts';
import type { Command } from '../command.ts';
import { usage } from '../flag-values.ts';
import { openOutputFile } from '../output-file.ts';
import { readSince, SINCE_FLAG } from '../since-flag.ts';
import { paintFor } from '../terminal.ts';
import { CLUSTER_FLAGS, Cluster } from './cluster.ts';
import { reportSilent } from './silent-agents.ts';
import { readWorkload, WORKLOAD_FLAGS } from './workload-argument.ts';

export const flameCommand: Command = {
  name: 'flame',
  summary: 'A flame graph of a workload over all nodes, as an HTML page that loads nothing.',
  usage: ['WORKLOAD [flags] > out.html', 'WORKLOAD --output out.html [flags]'],
  positionals: ['WORKLOAD'],
  flags: [
    ...WORKLOAD_FLAGS,
    SINCE_FLAG,
    { name: 'output', short: 'o', value: 'FILE', help: 'Where to write. Default: standard output.' },
    ...CLUSTER_FLAGS,
  ],
  examples: [{ what: 'The last five minutes', command: 'kubectl plumbline flame payments/api --since 5m > api.html' }],
  async run(args, { stdout, stderr, env }) {
    const output = textOf(args, 'output');
    if (output === undefined && stdout.isTTY === true)
      throw usage('the page would go to the terminal', 'redirect it: > out.html, or give --output FILE');
    const since = readSince(args);
    const { workload, answered } = await Cluster.use(args, async (cluster) => {
      const workload = readWorkload(args, cluster);
      const agents = await cluster.agents(await cluster.nodesOf(workload));
      const query = { workload, since };
      return { workload, answered: await cluster.ask<FlameData>(agents, '/api/flame', query) };
    });
    reportSilent(answered, stderr, paintFor(stderr, env));
    const parts = answered.answers
      .filter(({ value }) => value.processes.length > 0)
      .map(({ node, value }) => ({ node, data: value }));
    if (parts.length === 0)
      throw new AgentError('no_samples', `no samples of ${workload} in that time`, 'see kubectl plumbline top');
    const window = parts[0].data.facts.find(({ name }) => name === 'window');
    const facts = [...(window ? [window] : []), { name: 'nodes', value: String(parts.length) }];
    const page = renderPage(joinFlameData(parts, { title: `Plumbline: ${workload}`, facts }));
    if (output === undefined || output === '-') {
      await new Promise<void>((resolve, reject) => stdout.write(page, (error) => (error ? reject(error) : resolve())));
      return 0;
    }
    const file = await openOutputFile(output);
    try {
      await file.write(onePiece(page));
    } finally {
      await file.discard();
    }
    return 0;
  },
};

async function* onePiece(text: string): AsyncGenerator<string> {
  yield text;
}
