// SPDX-License-Identifier: Apache-2.0
/** The pods of the node on disk, for an agent that starts while the API server is away. */
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import type { NodePod } from './pod.ts';

const FILE_NAME = 'pods.json';

const KeptFile = z.object({
  /** Of the file itself. */
  layout: z.literal(1),
  node: z.string(),
  pods: z.array(
    z.object({
      pod: z.object({
        namespace: z.string(),
        name: z.string(),
        uid: z.string(),
        labels: z.record(z.string(), z.string()),
        owner: z
          .object({ kind: z.string(), name: z.string() })
          .nullable()
          .transform((owner) => owner ?? undefined),
      }),
      cgroupUid: z.string(),
      containers: z.array(z.tuple([z.string(), z.string()])).transform((pairs) => new Map(pairs)),
      containerNames: z.array(z.string()),
    }),
  ),
});

export class KeptPods {
  readonly #directory: string;
  readonly #nodeName: string;

  constructor(stateDirectory: string, nodeName: string) {
    this.#directory = stateDirectory;
    this.#nodeName = nodeName;
  }

  /** None where there is no file, or it cannot be used. */
  load(): NodePod[] {
    try {
      const { node, pods } = KeptFile.parse(JSON.parse(readFileSync(join(this.#directory, FILE_NAME), 'utf8')));
      return node === this.#nodeName ? pods : [];
    } catch {
      return [];
    }
  }

  /** Throws an Error where the folder cannot be written. */
  save(pods: readonly NodePod[]): void {
    const path = join(this.#directory, FILE_NAME);
    const kept = pods.map(({ pod, containers, ...rest }) => ({
      ...rest,
      pod: { ...pod, owner: pod.owner ?? null },
      containers: [...containers],
    }));
    mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
    writeFileSync(`${path}.partial`, JSON.stringify({ layout: 1, node: this.#nodeName, pods: kept }), { mode: 0o600 });
    renameSync(`${path}.partial`, path);
  }
}
