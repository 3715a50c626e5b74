// SPDX-License-Identifier: Apache-2.0
/** Baselines on disk, so that an agent that is replaced remembers what was usual. */
import { mkdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import type { BaselineEntry } from './baselines.ts';

const FILE_NAME = 'baselines.json';
/** Of the file's own form. */
const LAYOUT = 1;
/** Twice what the most workloads with the longest names take. */
const MAX_FILE_BYTES = 4 << 20;

const Weight = z.number().min(0);
const KeptFile = z.object({
  layout: z.literal(LAYOUT),
  entries: z.array(
    z
      .object({
        policy: z.string().max(253),
        workload: z.string().max(512),
        sinceMs: z.number(),
        atMs: z.number(),
        samples: Weight,
        truncated: Weight,
        frames: Weight,
      })
      .refine(({ samples, truncated }) => truncated <= samples * (1 + 1e-9)),
  ),
});

export type LoadResult =
  | { readonly outcome: 'loaded' | 'absent'; readonly entries: readonly BaselineEntry[] }
  /** The file cannot be used; baselines start anew. */
  | { readonly outcome: 'rejected'; readonly entries: readonly BaselineEntry[]; readonly why: string };

export class KeptBaselines {
  readonly path: string;
  readonly #directory: string;

  constructor(stateDirectory: string) {
    this.#directory = stateDirectory;
    this.path = join(stateDirectory, FILE_NAME);
  }

  load(): LoadResult {
    try {
      const { size } = statSync(this.path);
      if (size > MAX_FILE_BYTES) return rejected(`${size} bytes`);
      const parsed = KeptFile.safeParse(JSON.parse(readFileSync(this.path, 'utf8')));
      if (!parsed.success) return rejected(parsed.error.issues[0].message);
      return { outcome: 'loaded', entries: parsed.data.entries };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return { outcome: 'absent', entries: [] };
      return rejected((error as Error).message);
    }
  }

  /** Atomic. Throws an Error where the folder cannot be written. */
  save(entries: readonly BaselineEntry[]): void {
    mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
    writeFileSync(`${this.path}.partial`, JSON.stringify({ layout: LAYOUT, entries }), { mode: 0o600 });
    renameSync(`${this.path}.partial`, this.path);
  }
}

function rejected(why: string): LoadResult {
  return { outcome: 'rejected', entries: [], why };
}
