// SPDX-License-Identifier: Apache-2.0
import { withRoom } from './columns.ts';

const FREE = 0;

/**
 * Finds a row of a columnar table by its content: an open-addressing hash table that stores row numbers ("handles")
 * and 32-bit hashes, nothing else. The table compares the columns itself:
 *
 *     let slot = index.first(hash);
 *     for (let row = index.at(slot); row >= 0; slot = index.next(slot), row = index.at(slot)) {
 *       if (this.#a[row] === a && this.#b[row] === b) return row;
 *     }
 *     return index.insert(slot, hash); // the new row, to be written to the columns
 */
export class HandleIndex {
  #slots = new Uint32Array(64); // row + 1, or FREE
  #hashes = new Uint32Array(32); // by row, so that growing needs no look at the columns
  #count: number;

  /** @param reserved rows 0 to reserved - 1 exist already and are never found by content. */
  constructor(reserved = 0) {
    this.#count = reserved;
  }

  /** Rows given out so far, the reserved ones included. */
  get count(): number {
    return this.#count;
  }

  first(hash: number): number {
    return hash & (this.#slots.length - 1);
  }

  next(slot: number): number {
    return (slot + 1) & (this.#slots.length - 1);
  }

  /** The row in a slot; -1 when the slot is free. */
  at(slot: number): number {
    return this.#slots[slot] - 1;
  }

  /** Puts the next row into a free slot that a probe for `hash` ended at, and returns that row. */
  insert(slot: number, hash: number): number {
    const row = this.#count++;
    this.#slots[slot] = row + 1;
    this.#hashes = withRoom(this.#hashes, row);
    this.#hashes[row] = hash;
    if (this.#count * 3 > this.#slots.length * 2) this.#grow();
    return row;
  }

  #grow(): void {
    const old = this.#slots;
    this.#slots = new Uint32Array(old.length * 2);
    for (const entry of old) {
      if (entry === FREE) continue;
      let slot = this.first(this.#hashes[entry - 1]);
      while (this.#slots[slot] !== FREE) slot = this.next(slot);
      this.#slots[slot] = entry;
    }
  }
}

/** Mixes one 32-bit word into a hash (the step and finisher of MurmurHash3, public domain). */
export function mix(hash: number, word: number): number {
  let k = Math.imul(word, 0xcc9e2d51);
  k = Math.imul((k << 15) | (k >>> 17), 0x1b873593);
  const h = hash ^ k;
  return (Math.imul((h << 13) | (h >>> 19), 5) + 0xe6546b64) >>> 0;
}

/** Spreads the bits of a hash so that its low bits can choose a slot. */
export function finish(hash: number): number {
  let h = hash ^ (hash >>> 16);
  h = Math.imul(h, 0x85ebca6b);
  h ^= h >>> 13;
  h = Math.imul(h, 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}
