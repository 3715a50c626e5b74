// SPDX-License-Identifier: Apache-2.0
import { mkdir, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { constants, crc32, gunzip, gzip } from 'node:zlib';

const MAGIC = 0x4c50_4c42; // "BLPL"
/** Of the file's form and of the OTLP layout inside (1.11): others are not sent. */
const VERSION = 1;
const HEADER_SIZE = 24;
const NAME = /^[0-9]{15}-[0-9a-z]+-[0-9]{8}\.spool$/;
const MAX_PAYLOAD = 64 << 20;

/** An encoded request and the samples in it. */
export interface SpooledRequest {
  readonly payload: Uint8Array;
  readonly samples: number;
}

export interface SpoolOptions {
  readonly directory: string;
  /** Bytes on disk; beyond them the oldest files are dropped. */
  readonly maxBytes: number;
  /** Called for each request that is lost; of a damaged one the number of samples may not be known: 0. */
  readonly onDrop: (cause: 'spool_full' | 'spool_damaged', samples: number) => void;
}

interface Entry {
  readonly name: string;
  readonly bytes: number;
  readonly samples: number;
}

/**
 * Requests on disk, oldest first, in a directory of their own. A file is written under another name, synced, and
 * renamed, so that it is whole or not there after a crash; it carries a checksum, and what is damaged is counted.
 */
export class Spool {
  readonly #options: SpoolOptions;
  readonly #entries: Entry[] = [];
  #bytes = 0;
  #sequence = 0;
  /** What `oldest` gave out last: it is being sent, and is not dropped for room. */
  #held = '';

  private constructor(options: SpoolOptions) {
    this.#options = options;
  }

  /** Takes up what an earlier run left. Rejects with the file system's error when the directory cannot be used. */
  static async open(options: SpoolOptions): Promise<Spool> {
    const spool = new Spool(options);
    await mkdir(options.directory, { recursive: true, mode: 0o700 });
    for (const name of (await readdir(options.directory)).sort()) {
      if (name.startsWith('.partial-')) await rm(join(options.directory, name), { force: true });
      if (!NAME.test(name)) continue;
      const entry = await spool.#inspect(name);
      if (entry) spool.#append(entry);
      else await spool.#discard({ name, bytes: 0, samples: 0 }, 'spool_damaged');
    }
    await spool.#enforceLimit();
    return spool;
  }

  get count(): number {
    return this.#entries.length;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get samples(): number {
    return this.#entries.reduce((sum, entry) => sum + entry.samples, 0);
  }

  /**
   * Writes a request and returns its name; undefined when it alone is too large for the spool, and was dropped. Rejects
   * with the file system's error (disk full, say); the request is then not in the spool.
   */
  async write({ payload, samples }: SpooledRequest): Promise<string | undefined> {
    const body = await promisify(gzip)(payload, { level: constants.Z_BEST_SPEED });
    const header = Buffer.alloc(HEADER_SIZE);
    header.writeUInt32LE(MAGIC, 0);
    header.writeUInt32LE(VERSION, 4);
    header.writeUInt32LE(body.length, 8);
    header.writeUInt32LE(crc32(body), 12);
    header.writeBigUInt64LE(BigInt(samples), 16);
    const bytes = HEADER_SIZE + body.length;
    if (bytes > this.#options.maxBytes) {
      this.#options.onDrop('spool_full', samples);
      return undefined;
    }
    await this.#enforceLimit(bytes);
    const time = String(Date.now()).padStart(15, '0');
    const name = `${time}-${process.pid.toString(36)}-${String(this.#sequence++ % 1e8).padStart(8, '0')}.spool`;
    const partial = join(this.#options.directory, `.partial-${name}`);
    try {
      const file = await open(partial, 'wx', 0o600);
      try {
        await file.writev([header, body]);
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(partial, join(this.#options.directory, name));
    } catch (error) {
      await rm(partial, { force: true }).catch(() => undefined);
      throw error;
    }
    this.#append({ name, bytes, samples });
    await this.#syncDirectory();
    return name;
  }

  /** The oldest request, which stays until it is removed. Damaged ones before it are dropped. */
  async oldest(): Promise<(SpooledRequest & { readonly name: string }) | undefined> {
    for (let entry = this.#entries[0]; entry; entry = this.#entries[0]) {
      try {
        const bytes = await readFile(join(this.#options.directory, entry.name));
        const body = bytes.subarray(HEADER_SIZE);
        if (crc32(body) === bytes.readUInt32LE(12)) {
          const payload = await promisify(gunzip)(body, { maxOutputLength: MAX_PAYLOAD });
          this.#held = entry.name;
          return { payload, samples: entry.samples, name: entry.name };
        }
      } catch {
        // Dropped and counted like a checksum that differs.
      }
      await this.remove(entry.name);
      this.#options.onDrop('spool_damaged', entry.samples);
    }
    return undefined;
  }

  /** Forgets a request, which was delivered or refused. */
  async remove(name: string): Promise<void> {
    const index = this.#entries.findIndex((entry) => entry.name === name);
    if (index < 0) return;
    this.#bytes -= this.#entries[index].bytes;
    this.#entries.splice(index, 1);
    await rm(join(this.#options.directory, name), { force: true }).catch(() => undefined);
  }

  /** The entry of a file; undefined when its header is damaged or it is cut. */
  async #inspect(name: string): Promise<Entry | undefined> {
    const path = join(this.#options.directory, name);
    try {
      const { size } = await stat(path);
      const file = await open(path, 'r');
      try {
        const header = Buffer.alloc(HEADER_SIZE);
        const { bytesRead } = await file.read(header, 0, HEADER_SIZE, 0);
        const isWhole =
          bytesRead === HEADER_SIZE &&
          header.readUInt32LE(0) === MAGIC &&
          header.readUInt32LE(4) === VERSION &&
          header.readUInt32LE(8) + HEADER_SIZE === size;
        return isWhole ? { name, bytes: size, samples: Number(header.readBigUInt64LE(16)) } : undefined;
      } finally {
        await file.close();
      }
    } catch {
      return undefined;
    }
  }

  #append(entry: Entry): void {
    this.#entries.push(entry);
    this.#bytes += entry.bytes;
  }

  /** Drops the oldest until `room` more bytes fit. */
  async #enforceLimit(room = 0): Promise<void> {
    while (this.#bytes + room > this.#options.maxBytes) {
      const oldest = this.#entries.find((entry) => entry.name !== this.#held);
      if (!oldest) return;
      await this.remove(oldest.name);
      this.#options.onDrop('spool_full', oldest.samples);
    }
  }

  async #discard(entry: Entry, cause: 'spool_damaged'): Promise<void> {
    await rm(join(this.#options.directory, entry.name), { force: true }).catch(() => undefined);
    this.#options.onDrop(cause, entry.samples);
  }

  async #syncDirectory(): Promise<void> {
    const directory = await open(this.#options.directory, 'r');
    try {
      await directory.sync();
    } finally {
      await directory.close();
    }
  }
}
