// SPDX-License-Identifier: Apache-2.0
import { closeSync, constants, fstatSync, lstatSync, readFileSync, readSync } from 'node:fs';
import { openRegular } from './debug-files.ts';
import { PerfMap } from './perf-map.ts';

/** Of a map that grows faster, the rest is read the next time. */
const MAX_READ = 16 << 20;
/** What is read of a map in all. */
const MAX_SIZE = 128 << 20;
const CHUNK = 1 << 20;

/**
 * Reads and follows the perf map of a process, `/tmp/perf-PID.map` in its own root directory and under its own process
 * id. A container can put anything there: only a regular file that belongs to the process's user or root is read, no
 * symbolic link is followed.
 */
export class PerfMapReader {
  readonly #root: string;
  readonly #path: string;
  readonly #uid: number;
  #map: PerfMap | undefined;
  #inode = 0;
  #offset = 0;

  private constructor(root: string, path: string, uid: number) {
    this.#root = root;
    this.#path = path;
    this.#uid = uid;
  }

  /** Undefined when the process is gone. */
  static forProcess(pid: number, procFolder = '/proc'): PerfMapReader | undefined {
    try {
      const status = readFileSync(`${procFolder}/${pid}/status`, 'latin1');
      const ids = /^NSpid:\s*(.*)$/m.exec(status)?.[1].split(/\s+/) ?? [String(pid)];
      const uid = Number(/^Uid:\s*(\d+)/m.exec(status)?.[1] ?? 0);
      return new PerfMapReader(`${procFolder}/${pid}/root`, `/tmp/perf-${ids[ids.length - 1]}.map`, uid);
    } catch {
      return undefined;
    }
  }

  /** What is known so far; undefined when the process has no map. */
  get map(): PerfMap | undefined {
    return this.#map;
  }

  /** Reads what the process has appended since the last time. A map that was replaced is read anew. */
  refresh(): void {
    const fd = this.#open();
    if (fd === undefined) return;
    try {
      const { ino, size, uid } = fstatSync(fd);
      if (uid !== this.#uid && uid !== 0) return;
      if (ino !== this.#inode || size < this.#offset || this.#map === undefined) {
        this.#map = new PerfMap();
        this.#inode = ino;
        this.#offset = 0;
      }
      const end = Math.min(size, this.#offset + MAX_READ, MAX_SIZE);
      const chunk = Buffer.allocUnsafe(Math.max(0, Math.min(CHUNK, end - this.#offset)));
      while (this.#offset < end) {
        const count = readSync(fd, chunk, 0, Math.min(chunk.length, end - this.#offset), this.#offset);
        if (count === 0) break;
        this.#map.append(chunk.toString('utf8', 0, count));
        this.#offset += count;
      }
    } catch {
      // The process ended, or its file system went away: what is known stays.
    } finally {
      closeSync(fd);
    }
  }

  #open(): number | undefined {
    try {
      if (!lstatSync(`${this.#root}/tmp`).isDirectory()) return undefined;
    } catch {
      return undefined;
    }
    return openRegular(this.#root + this.#path, constants.O_NOFOLLOW);
  }
}
