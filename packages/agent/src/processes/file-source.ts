// SPDX-License-Identifier: Apache-2.0
import { fstatSync, readSync } from 'node:fs';
import type { ByteSource } from '../elf/source.ts';

/** The bytes of an open file, read as they are asked for. */
export function fileSource(fd: number): ByteSource {
  return {
    size: fstatSync(fd).size,
    read(offset, length) {
      const bytes = new Uint8Array(length);
      let done = 0;
      while (done < length) {
        const count = readSync(fd, bytes, done, length - done, offset + done);
        if (count === 0) break;
        done += count;
      }
      return bytes.subarray(0, done);
    },
  };
}
