// SPDX-License-Identifier: Apache-2.0

declare const brand: unique symbol;
/** Number of a string in a StringTable; 0 is the empty string. */
export type StringHandle = number & { readonly [brand]: 'string' };

export const EMPTY_STRING = 0 as StringHandle;

/** Every distinct string once. Handle 0 is the empty string, as OTLP and pprof want it. */
export class StringTable {
  readonly #strings: string[] = [''];
  readonly #handles = new Map<string, StringHandle>([['', EMPTY_STRING]]);

  get count(): number {
    return this.#strings.length;
  }

  intern(text: string): StringHandle {
    let handle = this.#handles.get(text);
    if (handle === undefined) {
      handle = this.#strings.length as StringHandle;
      this.#strings.push(text);
      this.#handles.set(text, handle);
    }
    return handle;
  }

  get(handle: StringHandle): string {
    return this.#strings[handle];
  }
}
