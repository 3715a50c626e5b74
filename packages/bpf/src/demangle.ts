// SPDX-License-Identifier: Apache-2.0
/** Readable names of C++ symbols. */
import { native } from './native.ts';

/** The demangler of libstdc++ gives up on longer ones too. */
const MAX_INPUT = 1024;
/** A hostile name of a few dozen bytes can stand for gigabytes. */
const MAX_OUTPUT = 16 << 10;

/**
 * Readable forms of names mangled by the Itanium C++ ABI (`_Z...`), in the same order; null for what is not such a
 * name, is longer than 1,024 bytes, or would become longer than 16 KiB.
 */
export function demangle(names: readonly string[]): (string | null)[] {
  if (!Array.isArray(names) || names.some((name) => typeof name !== 'string'))
    throw new TypeError('names must be an array of strings');
  return native().demangle(names, MAX_INPUT, MAX_OUTPUT);
}
