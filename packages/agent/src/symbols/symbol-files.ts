// SPDX-License-Identifier: Apache-2.0
import { findMiniDebugInfo } from '../elf/debug-link.ts';
import { ElfError } from '../elf/errors.ts';
import type { ElfFile } from '../elf/file.ts';
import { type ByteSource, bytesSource } from '../elf/source.ts';
import { findSymbolSection } from '../elf/symbols.ts';
import { fileSource } from '../processes/file-source.ts';
import { type ElfSymbols, readElfSymbols } from './elf-symbols.ts';

/** A symbol table to be read, by this thread or another: descriptors are open in both. */
export interface SymbolRequest {
  readonly fd: number;
  /** What is read instead of a file: the vDSO. */
  readonly bytes?: Uint8Array;
  readonly debugFd?: number;
}

/** Reads the symbols of an open file. Throws ElfError or an error of the file system. */
export function readSymbolFiles({ fd, bytes, debugFd }: SymbolRequest): Promise<ElfSymbols> {
  return readElfSymbols({
    file: bytes ? bytesSource(bytes) : fileSource(fd),
    debugFile: debugFd === undefined ? undefined : fileSource(debugFd),
    unxz,
  });
}

/** Symbol tables up to this size (some 20,000 symbols) are read in place: a thread would cost more. */
const SMALL_TABLE = 512 << 10;

/** Whether reading the symbols would hold up the main thread. */
export function isLargeSymbolTable(file: ElfFile, debugFile: boolean): boolean {
  const size = findSymbolSection(file, 'symtab')?.size ?? findSymbolSection(file, 'dynsym')?.size ?? 0;
  return debugFile || size > SMALL_TABLE || findMiniDebugInfo(file) !== undefined;
}

/** Decompresses xz by WebAssembly (xz-decompress); refuses more than `limit` bytes. */
export async function unxz(stream: Uint8Array, limit: number): Promise<Uint8Array> {
  const { XzReadableStream } = (await import('xz-decompress')).default;
  const reader = new XzReadableStream(new Blob([stream as Uint8Array<ArrayBuffer>]).stream()).getReader();
  const parts: Uint8Array[] = [];
  let size = 0;
  try {
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      parts.push(part.value.slice()); // the decoder uses its buffer again
      size += part.value.length;
      if (size > limit) throw new ElfError('tooLarge', `.gnu_debugdata inflates to more than ${limit} bytes`);
    }
  } catch (cause) {
    await reader.cancel().catch(() => undefined);
    if (cause instanceof ElfError) throw cause;
    throw new ElfError('malformed', `.gnu_debugdata: ${String(cause)}`, { cause });
  }
  return Buffer.concat(parts, size);
}

/** The bytes of an executable. */
export function sourceOf(file: { fd: number; bytes?: Uint8Array | undefined }): ByteSource {
  return file.bytes ? bytesSource(file.bytes) : fileSource(file.fd);
}
