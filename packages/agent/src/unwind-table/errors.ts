// SPDX-License-Identifier: Apache-2.0

/**
 * Why no unwind table could be built of a file that is well-formed ELF.
 *   noText    no executable bytes
 *   tooLarge  the text or its unwind information is above a limit
 */
export type UnwindTableErrorCode = 'noText' | 'tooLarge';

export class UnwindTableError extends Error {
  readonly code: UnwindTableErrorCode;

  constructor(code: UnwindTableErrorCode, message: string) {
    super(message);
    this.name = 'UnwindTableError';
    this.code = code;
  }
}
