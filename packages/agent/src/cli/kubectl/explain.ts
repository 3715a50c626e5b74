// SPDX-License-Identifier: Apache-2.0
import type { Explanation } from '../../explain/explanation.ts';
import { explanationLines } from '../../explain/explanation-text.ts';
import { joinExplanations } from '../../explain/join-explanations.ts';
import type { Command } from '../command.ts';
import { readSince, SINCE_FLAG } from '../since-flag.ts';
import { paintFor } from '../terminal.ts';
import { CLUSTER_FLAGS, Cluster } from './cluster.ts';
import { reportSilent } from './silent-agents.ts';
import { readWorkload, WORKLOAD_FLAGS } from './workload-argument.ts';

export const explainCommand: Command = {
  name: 'explain',
  summary: 'Say why stacks of a workload are cut, in which files, and what to do about it.',
  usage: ['WORKLOAD [flags]'],
  positionals: ['WORKLOAD'],
  flags: [...WORKLOAD_FLAGS, SINCE_FLAG, ...CLUSTER_FLAGS, { name: 'json', help: 'Print a JSON object.' }],
  examples: [{ what: 'A Deployment', command: 'kubectl plumbline explain -n payments api' }],
  async run(args, { stdout, stderr, env }) {
    const since = readSince(args);
    const { workload, answered } = await Cluster.use(args, async (cluster) => {
      const workload = readWorkload(args, cluster);
      const agents = await cluster.agents(await cluster.nodesOf(workload));
      const query = { workload, since };
      return { workload, answered: await cluster.ask<Explanation>(agents, '/api/explain', query) };
    });
    reportSilent(answered, stderr, paintFor(stderr, env));
    // Nodes without samples of it have nothing to say about it.
    const explanations = answered.answers.map(({ value }) => value).filter(({ samples }) => samples > 0);
    const joined = joinExplanations(explanations);
    stdout.write(
      args.flags.json === true
        ? `${JSON.stringify({ workload, nodes: explanations.length, ...joined }, null, 2)}\n`
        : `${explanationLines(joined, workload, paintFor(stdout, env)).join('\n')}\n`,
    );
    return 0;
  },
};
