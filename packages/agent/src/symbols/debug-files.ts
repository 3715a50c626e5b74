// SPDX-License-Identifier: Apache-2.0
import { closeSync, constants, fstatSync, openSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type DebugLink, debugLinkCrc } from '../elf/debug-link.ts';
import { parseElf } from '../elf/file.ts';
import { type BuildIds, readBuildIds } from '../elf/notes.ts';
import { fileSource } from '../processes/file-source.ts';

/**
 * Where the debug file of a stripped file may be, the most likely first; paths inside the root directory of a process
 * that uses it. (GDB manual, "Debugging Information in Separate Files".)
 */
export function debugFilePaths(path: string, gnuBuildId: string, link: DebugLink | undefined): string[] {
  const paths: string[] = [];
  if (gnuBuildId.length > 2) {
    paths.push(`/usr/lib/debug/.build-id/${gnuBuildId.slice(0, 2)}/${gnuBuildId.slice(2)}.debug`);
  }
  if (link !== undefined && path.startsWith('/')) {
    const folder = dirname(path);
    paths.push(join(folder, link.name), join(folder, '.debug', link.name), join('/usr/lib/debug', folder, link.name));
  }
  return [...new Set(paths)].filter((candidate) => candidate !== path);
}

/**
 * Opens the debug file of a build, searching the given root directories (`/proc/PID/root`, then the agent's own, ``).
 * Containers write what they like there, so a file counts only if it is a regular file of the same build: equal build
 * ids or, without one, the checksum that the link names. Returns its descriptor; undefined when there is none.
 */
export function openDebugFile(
  roots: readonly string[],
  path: string,
  buildIds: BuildIds,
  link: DebugLink | undefined,
): number | undefined {
  for (const root of roots) {
    for (const candidate of debugFilePaths(path, buildIds.gnu, link)) {
      const fd = openRegular(root + candidate);
      if (fd === undefined) continue;
      if (isOfBuild(fd, buildIds, link)) return fd;
      closeSync(fd);
    }
  }
  return undefined;
}

/** Opens a regular file for reading; undefined when there is none. Never waits, as opening a FIFO would. */
export function openRegular(path: string, flags = 0): number | undefined {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY | flags);
  } catch {
    return undefined;
  }
  if (fstatSync(fd).isFile()) return fd;
  closeSync(fd);
  return undefined;
}

function isOfBuild(fd: number, buildIds: BuildIds, link: DebugLink | undefined): boolean {
  try {
    const source = fileSource(fd);
    const { gnu } = readBuildIds(parseElf(source), source);
    if (buildIds.gnu !== '') return gnu === buildIds.gnu;
    return link !== undefined && debugLinkCrc(source) === link.crc;
  } catch {
    return false;
  }
}
