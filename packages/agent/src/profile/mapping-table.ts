// SPDX-License-Identifier: Apache-2.0

declare const brand: unique symbol;
/** Number of a mapping in a MappingTable; 0 stands for "no mapping". */
export type MappingHandle = number & { readonly [brand]: 'mapping' };

export const NO_MAPPING = 0 as MappingHandle;

/** How a build id was made: the linker's GNU note, or Go's own. */
export type BuildIdKind = 'gnu' | 'go';

/**
 * One executable segment of one file. Addresses are those of the file (ELF virtual addresses), not of a process, so
 * that a file has the same mapping in every process: `address - memoryStart + fileOffset` is the offset in the file.
 */
export interface Mapping {
  /** Path as the process sees it, or a name in brackets such as `[vdso]` or `[kernel.kallsyms]`. */
  filename: string;
  /** GNU: lower-case hexadecimal; Go: as in the note; empty when the file has none. */
  buildId: string;
  /** Of no meaning when the file has no build id. */
  buildIdKind: BuildIdKind;
  /** First address; `memoryLimit` is exclusive. Both 0 when not known. */
  memoryStart: bigint;
  memoryLimit: bigint;
  /** Bytes from the start of the file to the byte mapped at `memoryStart`. */
  fileOffset: bigint;
}

const NONE: Mapping = {
  filename: '',
  buildId: '',
  buildIdKind: 'gnu',
  memoryStart: 0n,
  memoryLimit: 0n,
  fileOffset: 0n,
};

/** The mapped files of a profile: some hundreds, so plain objects. Row 0 is "no mapping". */
export class MappingTable {
  readonly #mappings: Mapping[] = [NONE];
  readonly #handles = new Map<string, MappingHandle>();

  get count(): number {
    return this.#mappings.length;
  }

  intern(mapping: Mapping): MappingHandle {
    const { filename, buildId, memoryStart, memoryLimit, fileOffset } = mapping;
    const buildIdKind = buildId === '' ? 'gnu' : mapping.buildIdKind;
    const key = `${memoryStart}\0${memoryLimit}\0${fileOffset}\0${buildIdKind}\0${buildId}\0${filename}`;
    let handle = this.#handles.get(key);
    if (handle === undefined) {
      handle = this.#mappings.length as MappingHandle;
      this.#mappings.push({ filename, buildId, buildIdKind, memoryStart, memoryLimit, fileOffset });
      this.#handles.set(key, handle);
    }
    return handle;
  }

  get(handle: MappingHandle): Readonly<Mapping> {
    return this.#mappings[handle];
  }
}
