// SPDX-License-Identifier: Apache-2.0
/** Access by kubeconfig, in a module of its own: only it needs @kubernetes/client-node. */
import type { RequestOptions } from 'node:https';
import { type Cluster, KubeConfig } from '@kubernetes/client-node';
import { type ClusterAccess, type Credentials, reread } from './access.ts';
import { type Clock, systemClock } from './clock.ts';

/**
 * Access as a context of a kubeconfig says, by default the current one: of the given file, or of what `KUBECONFIG` and
 * `~/.kube/config` name.
 * Exec plugins and token files are client-node's business; it refreshes them. Throws an Error when there is no cluster.
 */
export function kubeconfigAccess(file?: string, clock: Clock = systemClock, context?: string): ClusterAccess {
  const config = new KubeConfig();
  if (file === undefined) config.loadFromDefault();
  else config.loadFromFile(file);
  if (context !== undefined) {
    if (!config.getContextObject(context)) throw new Error(`${file ?? 'kubeconfig'}: no context ${context}`);
    config.setCurrentContext(context);
  }
  const cluster = config.getCurrentCluster();
  if (!cluster) throw new Error(`${file ?? 'kubeconfig'}: no current cluster`);
  const namespace = config.getContextObject(config.getCurrentContext())?.namespace;
  return {
    server: cluster.server.replace(/\/+$/, ''),
    namespace,
    ...reread(() => currentCredentials(config, cluster), clock),
  };
}

async function currentCredentials(config: KubeConfig, cluster: Cluster): Promise<Credentials> {
  const options: RequestOptions = { headers: {} };
  await config.applyToHTTPSOptions(options);
  const { Authorization: authorization } = options.headers as Record<string, string>;
  const basic = options.auth ? `Basic ${Buffer.from(options.auth).toString('base64')}` : undefined;
  return {
    authorization: authorization ?? basic,
    tls: {
      ca: text(options.ca),
      cert: text(options.cert),
      key: text(options.key),
      servername: options.servername ?? cluster.tlsServerName,
      rejectUnauthorized: options.rejectUnauthorized,
    },
  };
}

/** client-node hands out PEM as strings or buffers. */
function text(value: unknown): string | undefined {
  return value === undefined || value === null ? undefined : String(value);
}
