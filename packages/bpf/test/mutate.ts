// SPDX-License-Identifier: Apache-2.0
/** A seeded mutation fuzzer: the same seed gives the same inputs on every machine. */

/** `FUZZ_SEED` and `FUZZ_ROUNDS` in the environment try others, and more. */
export const fuzzSeed = Number(process.env.FUZZ_SEED ?? 20_241);
export const fuzzRounds = (rounds: number) => Number(process.env.FUZZ_ROUNDS ?? rounds);

/** mulberry32: numbers in [0, 1). */
export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Values at which lengths and offsets go wrong. */
const EDGES = [0, 1, 7, 8, 0x7f, 0x80, 0xff, 0x7fffffff, 0x80000000, 0xfffffff8, 0xffffffff];

/** Copies of `original`, each with a few bytes or words changed, or cut short. */
export function* mutations(original: Uint8Array, rounds: number, seed = fuzzSeed): Generator<Buffer> {
  const next = random(seed);
  const below = (limit: number) => Math.floor(next() * limit);
  for (let round = 0; round < rounds; round++) {
    const copy = Buffer.from(original);
    for (let change = below(4); change >= 0; change--) {
      const kind = below(3);
      if (kind === 0) copy[below(copy.length)] ^= 1 << below(8);
      else if (kind === 1) copy[below(copy.length)] = below(256);
      else copy.writeUInt32LE(EDGES[below(EDGES.length)], below(copy.length / 4 - 1) * 4);
    }
    yield next() < 0.2 ? copy.subarray(0, below(copy.length)) : copy;
  }
}
