// SPDX-License-Identifier: Apache-2.0
import { ElfError } from './errors.ts';

/**
 * Random access to the bytes of a file. Parsers read the parts that they need and never open files themselves.
 */
export interface ByteSource {
  /** Bytes in the whole file. */
  readonly size: number;
  /**
   * Exactly `length` bytes from `offset`; both lie inside `size` (use `readBytes`, which checks). The caller does not
   * write into the result and the source does not change it later. I/O errors may be thrown as they are.
   */
  read(offset: number, length: number): Uint8Array;
}

/** A source over bytes that are already in memory; `read` returns views, not copies. */
export function bytesSource(bytes: Uint8Array): ByteSource {
  return { size: bytes.length, read: (offset, length) => bytes.subarray(offset, offset + length) };
}

/**
 * `length` bytes at `offset`, checked against the size of the source.
 * Throws ElfError `truncated` if the range leaves the file or the source returns fewer bytes (the file shrank).
 */
export function readBytes(source: ByteSource, offset: number, length: number, what: string): Uint8Array {
  if (!(offset >= 0 && length >= 0 && offset + length <= source.size)) {
    throw new ElfError(
      'truncated',
      `${what}: ${length} bytes at offset ${offset} leave the file of ${source.size} bytes`,
    );
  }
  const bytes = source.read(offset, length);
  if (bytes.length !== length) {
    throw new ElfError('truncated', `${what}: ${bytes.length} of ${length} bytes could be read at offset ${offset}`);
  }
  return bytes;
}
