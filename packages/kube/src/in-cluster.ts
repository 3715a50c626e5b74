// SPDX-License-Identifier: Apache-2.0
/** Access from within a pod: service account files, as kubelet projects and rotates them. */
import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type ClusterAccess, type Credentials, reread } from './access.ts';
import { type Clock, systemClock } from './clock.ts';

const SERVICE_ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount';

export interface InClusterOptions {
  environment?: NodeJS.ProcessEnv;
  /** Folder with `token`, `ca.crt` and `namespace`. */
  directory?: string;
  clock?: Clock;
}

/** Throws an Error that says what is missing when this process does not run in a pod. */
export function inClusterAccess(options: InClusterOptions = {}): ClusterAccess {
  const { environment = process.env, directory = SERVICE_ACCOUNT, clock = systemClock } = options;
  const host = environment.KUBERNETES_SERVICE_HOST;
  const port = environment.KUBERNETES_SERVICE_PORT ?? '443';
  if (!host) throw new Error('not in a cluster: KUBERNETES_SERVICE_HOST is not set (give a kubeconfig instead)');
  return {
    server: `https://${host.includes(':') ? `[${host}]` : host}:${port}`,
    namespace: namespaceIn(directory),
    ...reread(() => serviceAccountFiles(directory), clock),
  };
}

function namespaceIn(directory: string): string | undefined {
  try {
    return readFileSync(join(directory, 'namespace'), 'utf8').trim();
  } catch {
    return undefined;
  }
}

async function serviceAccountFiles(directory: string): Promise<Credentials> {
  const [token, ca] = await Promise.all(['token', 'ca.crt'].map((name) => readFile(join(directory, name), 'utf8')));
  return { authorization: `Bearer ${token.trim()}`, tls: { ca } };
}
