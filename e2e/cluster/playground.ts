// SPDX-License-Identifier: Apache-2.0
/** Where the cluster of `make cluster` lies, and its example policy. */
import { readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const directory = join(tmpdir(), 'plumbline');

export const PLAYGROUND = {
  directory,
  kubeconfig: join(directory, 'control-plane', 'pki', 'admin.kubeconfig'),
  collector: join(directory, 'collector'),

  /** Writes the example policy with the receiver that this cluster has. @returns its path. */
  writePolicy(endpoint: string): string {
    const path = join(directory, 'policy.yaml');
    const template = readFileSync(join(import.meta.dirname, 'playground', 'policy.yaml'), 'utf8');
    writeFileSync(path, template.replace('COLLECTOR', endpoint));
    return path;
  },
};
