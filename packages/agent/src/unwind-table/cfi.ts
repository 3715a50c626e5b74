// SPDX-License-Identifier: Apache-2.0

/**
 * Call frame information: the entries of `.eh_frame` and `.debug_frame` (CIE: what functions have in common; FDE: one
 * function). Sources: DWARF 5 section 6.4, Linux Standard Base "Exception Frames".
 */
import { isExact } from '../elf/little-endian.ts';
import { Cursor } from './cursor.ts';
import { DW_EH_PE_absptr, type PointerBases, readPointer, readValue } from './pointer-encoding.ts';
import type { SectionWindow } from './section-window.ts';

export const MAX_FDES = 1 << 21;
/** Longer entries are taken for damage; a function of a megabyte has some 100 KB of instructions. */
const MAX_ENTRY_SIZE = 1 << 24;
const MAX_ADDRESS_SPAN = 2 ** 32;
/** FDEs of CIEs beyond this count are left out; linkers merge equal ones, so that a file has a handful. */
const MAX_CIES = 1 << 16;
const IS_CIE = -1;

export interface Cie {
  codeAlign: number;
  dataAlign: number;
  /** Column of the return address. */
  raColumn: number;
  /** Encoding of addresses in its FDEs. */
  encoding: number;
  /** FDEs have augmentation data behind a length. */
  hasLength: boolean;
  /** Its functions are frames that the kernel made to deliver a signal. */
  isSignal: boolean;
  instructions: Uint8Array;
}

export interface FrameProblems {
  /** FDEs left out: no usable CIE, or an address that cannot be told. */
  skipped: number;
  /** Where the section stops to make sense, the rest is left out. */
  malformed: number;
}

export interface AddressRange {
  start: number;
  end: number;
}

/** The FDEs of a section, sorted by start address, and access to one at a time. */
export class FrameSection {
  readonly problems: FrameProblems = { skipped: 0, malformed: 0 };
  /** Start address of each FDE. */
  starts = new Float64Array(0);
  #offsets = new Uint32Array(0);

  /** The FDE that `select` has read: its addresses, CIE, and instructions in `cursor`. */
  start = 0;
  end = 0;
  cie!: Cie;
  readonly cursor = new Cursor(new Uint8Array(0));
  readonly bases: PointerBases;

  readonly #window: SectionWindow;
  readonly #isEh: boolean;
  readonly #cies = new Map<number, Cie | undefined>();
  // The entry that #entry has read.
  #at = 0;
  #next = 0;
  #cieAt = IS_CIE; // offset of its CIE in the section

  /**
   * @param isEh  `.eh_frame`; otherwise `.debug_frame`
   * @param untilTerminator  the size of the section is only an upper bound: an entry of length zero ends it
   */
  constructor(
    window: SectionWindow,
    isEh: boolean,
    bases: { text: number; data: number },
    text: AddressRange,
    untilTerminator = false,
  ) {
    this.#window = window;
    this.#isEh = isEh;
    this.bases = { bytes: 0, text: bases.text, data: bases.data, function: Number.NaN };
    this.#scan(text, untilTerminator);
  }

  get count(): number {
    return this.starts.length;
  }

  /** Reads FDE `index`. False if it cannot be used; then the fields are meaningless. */
  select(index: number): boolean {
    return this.#entry(this.#offsets[index]) && this.#fde();
  }

  #scan(text: AddressRange, untilTerminator: boolean): void {
    if (text.end - text.start > MAX_ADDRESS_SPAN) return;
    let keys = new Float64Array(1024);
    let offsets = new Uint32Array(1024);
    let count = 0;
    let at = 0;
    while (at + 4 <= this.#window.size) {
      if (!this.#entry(at)) {
        if (this.#next > at) {
          // a terminator
          if (untilTerminator) break;
          at = this.#next;
          continue;
        }
        this.problems.malformed++;
        break;
      }
      if (this.#cieAt !== IS_CIE) {
        if (!this.#fde()) {
          this.problems.skipped++;
        } else if (this.start < text.end && this.end > text.start && this.start >= text.start) {
          if (count === MAX_FDES) {
            this.problems.malformed++;
            break;
          }
          if (count === keys.length) {
            keys = grow(keys, new Float64Array(count * 2));
            offsets = grow(offsets, new Uint32Array(count * 2));
          }
          offsets[count] = at;
          keys[count] = (this.start - text.start) * MAX_FDES + count; // sorts by address, then by place in the section
          count++;
        }
      }
      at = this.#next;
    }
    keys = keys.subarray(0, count).sort();
    this.#offsets = new Uint32Array(count);
    for (let i = 0; i < count; i++) {
      this.#offsets[i] = offsets[keys[i] % MAX_FDES];
      keys[i] = text.start + Math.floor(keys[i] / MAX_FDES);
    }
    this.starts = keys.length === keys.buffer.byteLength / 8 ? keys : keys.slice();
  }

  /**
   * Reads length and id of the entry at an offset and puts the cursor behind them. False for a terminator (then #next
   * is behind it) and where no entry can be (then #next is not moved).
   */
  #entry(at: number): boolean {
    const window = this.#window;
    const cursor = this.cursor;
    this.#at = at;
    this.#next = at;
    if (at + 4 > window.size) return false;
    cursor.at = window.move(at, Math.min(24, window.size - at));
    cursor.bytes = window.bytes;
    cursor.end = window.bytes.length;
    let length = cursor.u32();
    if (length === 0) {
      this.#next = at + 4;
      return false;
    }
    const is64 = length === 0xffffffff;
    if (is64) length = cursor.u64();
    const idSize = is64 && !this.#isEh ? 8 : 4;
    const idAt = at + (is64 ? 12 : 4);
    if (length < idSize || length > MAX_ENTRY_SIZE || idAt + length > window.size) return false;
    cursor.at = window.move(idAt, length);
    cursor.bytes = window.bytes;
    cursor.end = cursor.at + length;
    const id = idSize === 8 ? cursor.u64() : cursor.u32();
    const isCie = this.#isEh ? id === 0 : id >= (idSize === 8 ? 2 ** 64 - 2048 : 0xffffffff);
    const cieAt = this.#isEh ? idAt - id : id;
    this.#cieAt = isCie ? IS_CIE : cieAt >= 0 ? cieAt : window.size; // outside of the section there is no CIE
    this.#next = idAt + length;
    return true;
  }

  #fde(): boolean {
    const cieAt = this.#cieAt;
    if (cieAt === IS_CIE) return false;
    if (!this.#cies.has(cieAt)) {
      if (this.#cies.size === MAX_CIES) return false;
      const at = this.#at;
      this.#cies.set(cieAt, this.#entry(cieAt) && this.#cieAt === IS_CIE ? this.#parseCie() : undefined);
      this.#entry(at); // the window may have moved
    }
    const cie = this.#cies.get(cieAt);
    if (cie === undefined) return false;
    const cursor = this.cursor;
    this.bases.bytes = this.#window.address + this.#window.start;
    this.start = readPointer(cursor, cie.encoding, this.bases);
    this.end = this.start + readValue(cursor, cie.encoding);
    if (cie.hasLength) cursor.skip(cursor.uleb());
    this.bases.function = this.start;
    this.cie = cie;
    return !cursor.overrun && isExact(this.start) && isExact(this.end) && this.end > this.start;
  }

  #parseCie(): Cie | undefined {
    const cursor = this.cursor;
    const version = cursor.u8();
    if (version !== 1 && version !== 3 && version !== 4) return undefined;
    let augmentation = '';
    for (let c = cursor.u8(); c !== 0 && augmentation.length < 16; c = cursor.u8())
      augmentation += String.fromCharCode(c);
    if (version === 4) {
      if (cursor.u8() !== 8) return undefined; // address size
      if (cursor.u8() !== 0) return undefined; // segment selector size
    }
    if (augmentation === 'eh') cursor.skip(8); // GCC 2: a pointer to its exception table
    const codeAlign = cursor.uleb();
    const dataAlign = cursor.sleb();
    const raColumn = version === 1 ? cursor.u8() : cursor.uleb();
    let encoding = DW_EH_PE_absptr;
    let isSignal = false;
    const hasLength = augmentation[0] === 'z';
    if (hasLength) {
      const length = cursor.uleb();
      const end = cursor.at + length;
      for (const c of augmentation.slice(1)) {
        if (c === 'R') encoding = cursor.u8();
        else if (c === 'P') readPointer(cursor, cursor.u8() & 0x7f, this.bases);
        else if (c === 'L') cursor.u8();
        else if (c === 'S') isSignal = true;
        else if (c !== 'B') return undefined;
      }
      if (cursor.at > end) return undefined;
      cursor.at = end;
    } else if (augmentation !== '' && augmentation !== 'eh') {
      return undefined;
    }
    if (cursor.overrun) return undefined;
    const instructions = cursor.bytes.slice(cursor.at, cursor.end);
    return { codeAlign, dataAlign, raColumn, encoding, hasLength, isSignal, instructions };
  }
}

function grow<T extends Float64Array | Uint32Array>(from: T, to: T): T {
  to.set(from as never);
  return to;
}
