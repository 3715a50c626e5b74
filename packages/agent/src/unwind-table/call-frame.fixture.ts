// SPDX-License-Identifier: Apache-2.0
/** Builds call frame sections for tests. */

export function uleb(value: number): number[] {
  const bytes: number[] = [];
  do {
    bytes.push((value % 128) | (value >= 128 ? 0x80 : 0));
    value = Math.floor(value / 128);
  } while (value > 0);
  return bytes;
}

export function sleb(value: number): number[] {
  const bytes: number[] = [];
  for (;;) {
    const byte = ((value % 128) + 128) % 128;
    value = Math.floor(value / 128);
    const done = (value === 0 && byte < 64) || (value === -1 && byte >= 64);
    bytes.push(done ? byte : byte | 0x80);
    if (done) return bytes;
  }
}

export function little(value: number, size: number): number[] {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigInt64(0, BigInt(value), true);
  return [...bytes.subarray(0, size)];
}

export interface CieOptions {
  version?: number;
  augmentation?: string;
  /** Bytes of the augmentation data, its length left out. */
  augmentationData?: number[];
  codeAlign?: number;
  dataAlign?: number;
  raColumn?: number;
  /** Default: CFA = rsp + 8, return address at CFA - 8. */
  instructions?: number[];
  /** Use the 64-bit format. */
  is64?: boolean;
}

/** Instructions that every x86-64 CIE begins with. */
export const INITIAL = [0x0c, 7, 8, 0x90, 1];

/** Puts entries together; FDEs refer to the last CIE before them. */
export class CallFrames {
  readonly bytes: number[] = [];
  readonly isEh: boolean;
  readonly address: number;
  #cieAt = 0;
  #hasLength = false;

  /** `address`: of the section, that pc-relative pointers are relative to. */
  constructor(isEh: boolean, address = 0x10_0000) {
    this.isEh = isEh;
    this.address = address;
  }

  cie(options: CieOptions = {}): this {
    const augmentation = options.augmentation ?? (this.isEh ? 'zR' : '');
    const data = options.augmentationData ?? (augmentation === 'zR' ? [0x1b] : []);
    this.#hasLength = augmentation.startsWith('z');
    this.#cieAt = this.bytes.length;
    const version = options.version ?? (this.isEh ? 1 : 4);
    this.#entry(
      this.isEh ? 0 : -1,
      [
        version,
        ...Buffer.from(`${augmentation}\0`, 'latin1'),
        ...(version === 4 ? [8, 0] : []),
        ...uleb(options.codeAlign ?? 1),
        ...sleb(options.dataAlign ?? -8),
        ...(version === 1 ? [options.raColumn ?? 16] : uleb(options.raColumn ?? 16)),
        ...(this.#hasLength ? [...uleb(data.length), ...data] : []),
        ...(options.instructions ?? INITIAL),
      ],
      options.is64 ?? false,
    );
    return this;
  }

  /** `encode` writes start and length; default: pc-relative 32 bits in `.eh_frame`, absolute in `.debug_frame`. */
  fde(start: number, length: number, instructions: number[], encode?: (at: number) => number[], is64 = false): this {
    const fieldAt = this.address + this.bytes.length + (is64 ? 12 : 4) + (is64 && !this.isEh ? 8 : 4);
    const pointers =
      encode?.(fieldAt) ??
      (this.isEh ? [...little(start - fieldAt, 4), ...little(length, 4)] : [...little(start, 8), ...little(length, 8)]);
    const idAt = this.bytes.length + (is64 ? 12 : 4);
    this.#entry(
      this.isEh ? idAt - this.#cieAt : this.#cieAt,
      [...pointers, ...(this.#hasLength ? [0] : []), ...instructions],
      is64,
    );
    return this;
  }

  terminator(): this {
    this.bytes.push(0, 0, 0, 0);
    return this;
  }

  #entry(id: number, content: number[], is64: boolean): void {
    const idBytes = little(id, is64 && !this.isEh ? 8 : 4);
    const body = [...idBytes, ...content];
    while (body.length % 4 !== 0) body.push(0); // nop
    this.bytes.push(...(is64 ? [0xff, 0xff, 0xff, 0xff, ...little(body.length, 8)] : little(body.length, 4)), ...body);
  }
}
