// SPDX-License-Identifier: Apache-2.0
/** Entry of the operator: flags, environment, signals, exit code. */
import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { type ClusterAccess, inClusterAccess } from '@plumbline/kube';
import packageJson from '../package.json' with { type: 'json' };
import { DEFAULTS, FlagError, type Flags, HELP, parseFlags } from './flags.ts';
import { jsonLogger } from './log.ts';
import { Operator } from './operator.ts';
import { startTracing } from './tracing.ts';

const { version } = packageJson;

async function main(): Promise<number> {
  const flags = parseFlags(process.argv.slice(2));
  if (flags === 'help' || flags === 'version') {
    process.stdout.write(flags === 'help' ? HELP : `${version}\n`);
    return 0;
  }
  const log = jsonLogger(flags.logLevel);
  const stop = new AbortController();
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.once(signal, () => {
      log.info('stopping', { signal });
      stop.abort();
    });
  }
  const access = await clusterAccess(flags);
  const stopTracing = await startTracing(process.env);
  const namespace = flags.namespace ?? access.namespace ?? DEFAULTS.namespace;
  const operator = new Operator({
    access,
    version,
    identity: `${process.env.POD_NAME ?? hostname()}_${randomUUID().slice(0, 8)}`,
    election: flags.leaderElect ? { namespace, leaseName: flags.leaseName } : undefined,
    qps: flags.qps,
    burst: flags.burst,
    workers: flags.workers,
    limits: flags.limits,
    http: { host: flags.host, port: flags.port },
    log,
  });
  try {
    await operator.run(stop.signal);
    log.info('stopped');
    return 0;
  } catch (error) {
    log.error('ended', { error: String(error) });
    return 1;
  } finally {
    await stopTracing();
  }
}

/** What reads kubeconfigs is large, and a pod does not need it. */
async function clusterAccess({ kubeconfig }: Flags): Promise<ClusterAccess> {
  if (kubeconfig === undefined && process.env.KUBERNETES_SERVICE_HOST) return inClusterAccess();
  const { kubeconfigAccess } = await import('@plumbline/kube/kubeconfig');
  return kubeconfigAccess(kubeconfig);
}

try {
  process.exit(await main());
} catch (error) {
  process.stderr.write(`plumbline-operator: ${(error as Error).message}\n`);
  if (error instanceof FlagError) process.stderr.write('See plumbline-operator --help.\n');
  process.exit(error instanceof FlagError ? 2 : 1);
}
