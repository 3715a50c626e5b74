// SPDX-License-Identifier: Apache-2.0

/**
 * Why a file could not be read as ELF.
 *   notElf       no ELF magic
 *   unsupported  a well-formed file of another class, byte order, machine or compression
 *   truncated    a header points past the end of the file
 *   malformed    a field contradicts the format
 *   tooLarge     a size is above the limit of this reader
 */
export type ElfErrorCode = 'notElf' | 'unsupported' | 'truncated' | 'malformed' | 'tooLarge';

export class ElfError extends Error {
  readonly code: ElfErrorCode;

  constructor(code: ElfErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'ElfError';
    this.code = code;
  }
}
