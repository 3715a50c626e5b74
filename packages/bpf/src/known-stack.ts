// SPDX-License-Identifier: Apache-2.0
import { builtFile, type Handle, native } from './native.ts';

/**
 * A thread of this process that keeps a CPU busy at the bottom of a recursion: all return addresses but those at both ends of
 * its stack are the same one, which lies in the addon. It ends by `close`, or by itself after some tens of seconds.
 */
export class KnownStack {
  /** Levels of the recursion. */
  readonly depth: number;
  /** Its thread. */
  readonly tid: number;
  /** The file that its code lies in. */
  readonly path = builtFile('addon.node');
  readonly #handle: Handle<'knownStack'>;

  /** @throws BpfError where no thread can be started */
  constructor(depth: number) {
    this.depth = depth;
    this.#handle = native().knownStackStart(depth);
    this.tid = native().knownStackThread(this.#handle);
  }

  close(): void {
    native().close(this.#handle);
  }
}
