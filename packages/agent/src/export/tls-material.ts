// SPDX-License-Identifier: Apache-2.0
import { readFileSync, statSync } from 'node:fs';
import type { TlsFiles } from './otlp-target.ts';

export interface TlsMaterial {
  readonly ca: Buffer | undefined;
  readonly certificate: Buffer | undefined;
  readonly key: Buffer | undefined;
}

/** Reads TLS files, and tells when they have changed: Kubernetes replaces mounted Secrets while programs run. */
export class TlsMaterialSource {
  readonly #files: TlsFiles;
  #seen = '';

  constructor(files: TlsFiles) {
    this.#files = files;
  }

  /** Whether a file has changed since the last `read`. */
  hasChanged(): boolean {
    return this.#fingerprint() !== this.#seen;
  }

  /** Throws the file system's error when a file cannot be read. */
  read(): TlsMaterial {
    this.#seen = this.#fingerprint();
    const { ca, certificate, key } = this.#files;
    const read = (path: string | undefined) => (path === undefined ? undefined : readFileSync(path));
    return { ca: read(ca), certificate: read(certificate), key: read(key) };
  }

  #fingerprint(): string {
    return [this.#files.ca, this.#files.certificate, this.#files.key]
      .map((path) => {
        if (path === undefined) return '';
        const info = statSync(path, { throwIfNoEntry: false });
        return info === undefined ? 'missing' : `${info.ino} ${info.mtimeMs} ${info.size}`;
      })
      .join();
  }
}
