// SPDX-License-Identifier: Apache-2.0

/**
 * The encoded form of an unwind table, as the kernel side reads it ("Unwind tables" in abi.h):
 *
 *   index  u32[blocks + 1]  for each block of 128 bytes of text, the number of rows that start before the block
 *   rows   u32[]            offset inside the block << 16 | rule number, sorted by address
 *   rules  16 bytes each    struct unwind_rule
 */
import { RULE_SIZE, type RuleSet } from './row.ts';

export const BLOCK_SHIFT = 7;
export const BLOCK_SIZE = 1 << BLOCK_SHIFT;
/** Upper bound of index, rows and rules of one segment together. */
export const MAX_SEGMENT_BYTES = 1 << 20;

export interface UnwindSegment {
  /** File virtual addresses that the segment covers: [textStart, textEnd). */
  readonly textStart: number;
  readonly textEnd: number;
  readonly index: Uint32Array;
  readonly rows: Uint32Array;
  readonly rules: Uint8Array;
  /** Bytes of index, rows and rules together. */
  readonly byteLength: number;
}

/** Takes rows in order of address and writes segments; a row that says the same as the one before is dropped. */
export class SegmentEncoder {
  readonly segments: UnwindSegment[] = [];
  readonly #rules: RuleSet;
  readonly #limit: number;
  readonly #index: Uint32Array;
  readonly #rows: Uint32Array;
  #start = 0;
  #blocks = 0; // entries of #index that are known
  #rowCount = 0;
  #lastRule = -1;
  #lastAddress = -1;
  // Rules of the segment at hand: its own number of each rule of the set, valid if #seen has the segment's number.
  #localNumber = new Uint16Array(1024);
  #seen = new Uint32Array(1024);
  #used: number[] = [];

  constructor(rules: RuleSet, limit = MAX_SEGMENT_BYTES) {
    this.#rules = rules;
    this.#limit = limit;
    this.#index = new Uint32Array(limit / 4);
    this.#rows = new Uint32Array(limit / 4);
  }

  /** Begins a range of text; rows follow, the first of them at `start`. */
  begin(start: number): void {
    this.#start = start;
    this.#blocks = 0;
    this.#rowCount = 0;
    this.#lastRule = -1;
    this.#used = [];
  }

  /** Rule number `rule` of the set holds from `address` on. Addresses ascend; of rules at one address the last counts. */
  add(address: number, rule: number): void {
    if (rule === this.#lastRule) return;
    if (address === this.#lastAddress && this.#rowCount > 0) this.#rowCount--;
    this.#makeRoom(address, 4 + RULE_SIZE);
    this.#write(address, rule);
  }

  /** Ends the range of text. */
  end(textEnd: number): void {
    this.#makeRoom(textEnd - 1, 0);
    this.#finish(textEnd);
  }

  /**
   * Ends segments so that the index up to `address` fits, and `more` bytes besides. A new segment begins with the rule in
   * force, unless a row at `address` is to follow.
   */
  #makeRoom(address: number, more: number): void {
    for (;;) {
      const taken = 4 * this.#rowCount + RULE_SIZE * this.#used.length;
      const index = 4 * (((address - this.#start) >>> BLOCK_SHIFT) + 2);
      if (taken + more + index <= this.#limit && address - this.#start < 0x8000_0000) return;
      // The segment reaches to the address if the index has room for it, else as far as there is room.
      const blocks = Math.floor((this.#limit - taken) / 4) - 1;
      const end = Math.min(address, this.#start + blocks * BLOCK_SIZE);
      const rule = this.#lastRule;
      this.#finish(end);
      this.begin(end);
      if (end === address && more > 0) return;
      this.#write(end, rule);
    }
  }

  #write(address: number, rule: number): void {
    const offset = address - this.#start;
    this.#fillIndex((offset >>> BLOCK_SHIFT) + 1);
    this.#rows[this.#rowCount++] = ((offset & (BLOCK_SIZE - 1)) << 16) | this.#local(rule);
    this.#lastRule = rule;
    this.#lastAddress = this.#start + offset;
  }

  #fillIndex(blocks: number): void {
    while (this.#blocks < blocks) this.#index[this.#blocks++] = this.#rowCount;
  }

  #local(rule: number): number {
    if (rule >= this.#seen.length) {
      const seen = new Uint32Array(2 ** Math.ceil(Math.log2(rule + 1)));
      seen.set(this.#seen);
      this.#seen = seen;
      const localNumber = new Uint16Array(seen.length);
      localNumber.set(this.#localNumber);
      this.#localNumber = localNumber;
    }
    const segment = this.segments.length + 1;
    if (this.#seen[rule] !== segment) {
      this.#seen[rule] = segment;
      this.#localNumber[rule] = this.#used.length;
      this.#used.push(rule);
    }
    return this.#localNumber[rule];
  }

  #finish(textEnd: number): void {
    const blocks = Math.ceil((textEnd - this.#start) / BLOCK_SIZE);
    this.#fillIndex(blocks + 1);
    const index = this.#index.slice(0, blocks + 1);
    const rows = this.#rows.slice(0, this.#rowCount);
    const words = new Int32Array((this.#used.length * RULE_SIZE) / 4);
    for (const [i, rule] of this.#used.entries()) this.#rules.copyTo(rule, words, (i * RULE_SIZE) / 4);
    const rules = new Uint8Array(words.buffer);
    const byteLength = index.byteLength + rows.byteLength + rules.byteLength;
    this.segments.push({ textStart: this.#start, textEnd, index, rows, rules, byteLength });
  }
}
