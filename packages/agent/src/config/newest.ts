// SPDX-License-Identifier: Apache-2.0

/** Hands values from a producer to one consumer that wants only the newest. */
export class Newest<T> {
  #value: T | undefined;
  #wake: (() => void) | undefined;

  put(value: T): void {
    this.#value = value;
    this.#wake?.();
  }

  /** Values as they come; one that is replaced before it is read is skipped. Ends when `signal` aborts. */
  async *values(signal: AbortSignal): AsyncGenerator<T> {
    const onAbort = () => this.#wake?.();
    signal.addEventListener('abort', onAbort);
    try {
      while (!signal.aborted) {
        if (this.#value === undefined) {
          await new Promise<void>((resolve) => {
            this.#wake = resolve;
          });
          this.#wake = undefined;
          continue;
        }
        const value = this.#value;
        this.#value = undefined;
        yield value;
      }
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
  }
}
