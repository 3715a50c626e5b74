// SPDX-License-Identifier: Apache-2.0
/** Room in a fixed number of equal shards, first fit, freed parts joined with their neighbours. Sizes in bytes. */
export interface Room {
  readonly shard: number;
  readonly offset: number;
  readonly length: number;
}

const ALIGNMENT = 16;

export class ShardAllocator {
  readonly #shardSize: number;
  readonly #maxShards: number;
  /** Free parts of each shard as [offset, length], sorted by offset. */
  readonly #free: [number, number][][] = [];
  #used = 0;

  constructor(shardSize: number, maxShards: number) {
    this.#shardSize = shardSize;
    this.#maxShards = maxShards;
  }

  /** Shards in use so far; they are never given back. */
  get shards(): number {
    return this.#free.length;
  }

  get usedBytes(): number {
    return this.#used;
  }

  get capacityBytes(): number {
    return this.#shardSize * this.#maxShards;
  }

  /** Undefined where no shard has that much in one piece. */
  allocate(bytes: number): Room | undefined {
    const length = Math.max(ALIGNMENT, Math.ceil(bytes / ALIGNMENT) * ALIGNMENT);
    if (length > this.#shardSize) return undefined;
    for (let shard = 0; shard < this.#maxShards; shard++) {
      if (shard === this.#free.length) this.#free.push([[0, this.#shardSize]]);
      const parts = this.#free[shard];
      const index = parts.findIndex((part) => part[1] >= length);
      if (index < 0) continue;
      const part = parts[index];
      const room = { shard, offset: part[0], length };
      if (part[1] === length) parts.splice(index, 1);
      else parts[index] = [part[0] + length, part[1] - length];
      this.#used += length;
      return room;
    }
    return undefined;
  }

  free(room: Room): void {
    const parts = this.#free[room.shard];
    let index = parts.findIndex((part) => part[0] > room.offset);
    if (index < 0) index = parts.length;
    parts.splice(index, 0, [room.offset, room.length]);
    const next = parts[index + 1];
    if (next && room.offset + room.length === next[0]) {
      parts[index] = [room.offset, room.length + next[1]];
      parts.splice(index + 1, 1);
    }
    const before = parts[index - 1];
    if (before && before[0] + before[1] === room.offset) {
      before[1] += parts[index][1];
      parts.splice(index, 1);
    }
    this.#used -= room.length;
  }
}
