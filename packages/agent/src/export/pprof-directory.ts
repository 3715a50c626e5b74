// SPDX-License-Identifier: Apache-2.0
import { mkdir, readdir, rename, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from '../log.ts';
import type { Profile } from '../profile/profile.ts';
import type { Exporter } from './exporter.ts';
import { encodePprof } from './pprof.ts';

export interface PprofDirectoryOptions {
  readonly directory: string;
  /** Older files are removed. */
  readonly maxFiles: number;
  readonly log: Logger;
}

const FILE = /^plumbline-\d{8}T\d{6}\.\d{3}Z\.pb\.gz$/;

/** Writes each profile as a gzipped pprof file, named by its time, and keeps the newest. */
export class PprofDirectory implements Exporter {
  readonly #options: PprofDirectoryOptions;
  written = 0;
  bytes = 0;
  failed = 0;

  constructor(options: PprofDirectoryOptions) {
    this.#options = options;
  }

  async export(profile: Profile): Promise<void> {
    const { directory, maxFiles, log } = this.#options;
    const time = new Date(Number(profile.startUnixNano / 1_000_000n)).toISOString().replaceAll(/[-:]/g, '');
    const path = join(directory, `plumbline-${time}.pb.gz`);
    try {
      const bytes = await encodePprof(profile);
      await mkdir(directory, { recursive: true });
      await writeFile(`${path}.part`, bytes);
      await rename(`${path}.part`, path); // a reader never sees half a file
      this.written++;
      this.bytes += bytes.byteLength;
      const files = (await readdir(directory)).filter((name) => FILE.test(name)).sort();
      for (const name of files.slice(0, Math.max(0, files.length - maxFiles))) await unlink(join(directory, name));
    } catch (error) {
      this.failed++;
      log.error('a profile could not be written', { directory, error: (error as Error).message });
    }
  }

  async drain(): Promise<void> {}
}
