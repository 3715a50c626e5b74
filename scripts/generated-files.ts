// SPDX-License-Identifier: Apache-2.0
/** What every program that generates committed files does with them: write them, or with --check say which are out of date. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { parseArgs } from 'node:util';

const repository = join(import.meta.dirname, '..');

/** What each file is to hold, by its path from the root of the repository. */
export type GeneratedFiles = Readonly<Record<string, string>>;

/**
 * The end of a generator: writes what differs. With --check on the command line it writes nothing, and the exit code is 1
 * where a file differs.
 */
export function deliver(files: GeneratedFiles): void {
  const { values } = parseArgs({ options: { check: { type: 'boolean', default: false } } });
  const outdated = outdatedFiles(repository, files);
  if (!values.check) {
    writeFiles(repository, files, outdated);
    for (const path of outdated) console.log(`wrote ${path}`);
    return;
  }
  const generator = relative(repository, process.argv[1]);
  for (const path of outdated) console.error(`${path} is out of date: run node ${generator}`);
  if (outdated.length > 0) process.exitCode = 1;
}

/** Paths of the files under `root` that are missing or hold something else. */
export function outdatedFiles(root: string, files: GeneratedFiles): string[] {
  return Object.keys(files).filter((path) => read(join(root, path)) !== files[path]);
}

/** Writes those of the files that `paths` names, with the folders that they lie in. */
export function writeFiles(root: string, files: GeneratedFiles, paths: readonly string[]): void {
  for (const path of paths) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), files[path]);
  }
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
