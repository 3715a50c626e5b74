// SPDX-License-Identifier: Apache-2.0
import os from 'node:os';
import process from 'node:process';
import manifest from '../../package.json' with { type: 'json' };
import type { Command } from './command.ts';

/** The version of the agent: reported to the cluster, in profiles, and by `plumbline version`. */
export const VERSION: string = manifest.version;

export const versionCommand: Command = {
  name: 'version',
  summary: 'Print the version of Plumbline, of Node.js and of the kernel.',
  usage: ['[--json]'],
  flags: [{ name: 'json', help: 'Print a JSON object.' }],
  examples: [{ command: 'plumbline version --json', what: 'For a bug report' }],
  async run(args, { stdout }) {
    const facts = {
      version: VERSION,
      node: process.version,
      platform: `${os.platform()}/${os.arch()}`,
      kernel: os.release(),
    };
    stdout.write(
      args.flags.json === true
        ? `${JSON.stringify(facts)}\n`
        : `plumbline ${facts.version} (Node.js ${facts.node}, ${facts.platform}, kernel ${facts.kernel})\n`,
    );
    return 0;
  },
};
