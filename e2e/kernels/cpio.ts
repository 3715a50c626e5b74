// SPDX-License-Identifier: Apache-2.0
/** Writes archives of the form that a kernel unpacks at boot: cpio "newc" (Documentation/driver-api/early-userspace/buffer-format.rst). */
import { closeSync, openSync, readFileSync, statSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';

const DIRECTORY = 0o040755;
const FILE = 0o100000;
const LINK = 0o120777;

/** What a file system begins with. Paths are absolute; directories on the way are made. */
export class CpioArchive {
  readonly #descriptor: number;
  readonly #directories = new Set<string>(['/']);
  #inode = 1;

  constructor(path: string) {
    this.#descriptor = openSync(path, 'w');
  }

  directory(path: string): void {
    if (this.#directories.has(path)) return;
    this.directory(dirname(path));
    this.#directories.add(path);
    this.#entry(path, DIRECTORY, new Uint8Array());
  }

  file(path: string, content: Uint8Array | string, mode = 0o755): void {
    this.directory(dirname(path));
    this.#entry(path, FILE | mode, Buffer.from(content));
  }

  /** Copies a file of this machine; a symbolic link is followed. */
  copy(from: string, to = from): void {
    this.file(to, readFileSync(from), statSync(from).mode & 0o777);
  }

  link(path: string, target: string): void {
    this.directory(dirname(path));
    this.#entry(path, LINK, Buffer.from(target));
  }

  close(): void {
    this.#entry('/TRAILER!!!', 0, new Uint8Array());
    closeSync(this.#descriptor);
  }

  #entry(path: string, mode: number, content: Uint8Array): void {
    const name = Buffer.from(`${path.slice(1)}\0`);
    // inode, mode, uid, gid, links, mtime, size, device of the file and of the node (major, minor), length of the name, checksum
    const fields = [this.#inode++, mode, 0, 0, 1, 0, content.length, 0, 0, 0, 0, name.length, 0];
    const header = `070701${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}`;
    writeSync(this.#descriptor, padded(Buffer.concat([Buffer.from(header), name])));
    const bytes = padded(content);
    for (let at = 0; at < bytes.length; ) at += writeSync(this.#descriptor, bytes, at);
  }
}

/** Names with their header, and contents, end at a multiple of four bytes. */
function padded(bytes: Uint8Array): Uint8Array {
  const rest = (4 - (bytes.length % 4)) % 4;
  return rest === 0 ? bytes : Buffer.concat([bytes, Buffer.alloc(rest)]);
}
