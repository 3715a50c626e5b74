// SPDX-License-Identifier: Apache-2.0

/**
 * What became of samples after the kernel side had counted them under a reason: moved to another, so that the counts still
 * add up to the samples that fired.
 */
export class ReasonMoves {
  /** By name: how many more (or fewer) there are than the kernel side counted. */
  readonly #change = new Map<string, number>();

  move(from: string, to: string, count = 1): void {
    this.#change.set(from, (this.#change.get(from) ?? 0) - count);
    this.#change.set(to, (this.#change.get(to) ?? 0) + count);
  }

  /** The counts of the kernel side with the moves made. Reasons left without samples are left out. */
  apply(byReason: Readonly<Record<string, number>>): Record<string, number> {
    const result = { ...byReason };
    for (const [reason, change] of this.#change) {
      const count = (result[reason] ?? 0) + change;
      if (count === 0) delete result[reason];
      else result[reason] = count;
    }
    return result;
  }
}
