// SPDX-License-Identifier: Apache-2.0
/** Runs Helm on the repository's chart, with configuration and caches of its own. */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ensureTool } from './tools.ts';

export const CHART = join(import.meta.dirname, '..', '..', 'deploy', 'helm', 'plumbline');

/** @returns standard output. @throws Error with Helm's own output. */
export async function helm(args: readonly string[], kubeconfig = '/dev/null'): Promise<string> {
  const program = await ensureTool('helm');
  const home = mkdtempSync(join(tmpdir(), 'plumbline-helm-'));
  const folders = { HELM_CONFIG_HOME: home, HELM_CACHE_HOME: home, HELM_DATA_HOME: home };
  try {
    return await new Promise((resolve, reject) => {
      execFile(
        program,
        args,
        { env: { ...process.env, ...folders, KUBECONFIG: kubeconfig }, maxBuffer: 2 ** 26 },
        (error, stdout, stderr) => {
          if (error) reject(new Error(`helm ${args.join(' ')}\n${stdout}${stderr}`));
          else resolve(stdout);
        },
      );
    });
  } finally {
    rmSync(home, { recursive: true });
  }
}
