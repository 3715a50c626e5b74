// SPDX-License-Identifier: Apache-2.0
import { withRoom } from './columns.ts';
import { finish, HandleIndex, mix } from './handle-index.ts';
import { EMPTY_STRING, type StringHandle } from './string-table.ts';

declare const brand: unique symbol;
/** Number of a function in a FunctionTable; 0 stands for "not known". */
export type FunctionHandle = number & { readonly [brand]: 'function' };

export const NO_FUNCTION = 0 as FunctionHandle;

/** Functions: name for people, name in the symbol table (mangled), source file. Row 0 is "not known". */
export class FunctionTable {
  #names = new Uint32Array(64);
  #systemNames = new Uint32Array(64);
  #files = new Uint32Array(64);
  readonly #index = new HandleIndex(1);

  get count(): number {
    return this.#index.count;
  }

  intern(name: StringHandle, systemName: StringHandle, file: StringHandle): FunctionHandle {
    if (name === EMPTY_STRING && systemName === EMPTY_STRING && file === EMPTY_STRING) return NO_FUNCTION;
    const hash = finish(mix(mix(mix(0, name), systemName), file));
    let slot = this.#index.first(hash);
    for (let row = this.#index.at(slot); row >= 0; slot = this.#index.next(slot), row = this.#index.at(slot)) {
      if (this.#names[row] === name && this.#systemNames[row] === systemName && this.#files[row] === file) {
        return row as FunctionHandle;
      }
    }
    const row = this.#index.insert(slot, hash);
    this.#names = withRoom(this.#names, row);
    this.#systemNames = withRoom(this.#systemNames, row);
    this.#files = withRoom(this.#files, row);
    this.#names[row] = name;
    this.#systemNames[row] = systemName;
    this.#files[row] = file;
    return row as FunctionHandle;
  }

  name(handle: FunctionHandle): StringHandle {
    return this.#names[handle] as StringHandle;
  }

  systemName(handle: FunctionHandle): StringHandle {
    return this.#systemNames[handle] as StringHandle;
  }

  file(handle: FunctionHandle): StringHandle {
    return this.#files[handle] as StringHandle;
  }
}
