// SPDX-License-Identifier: Apache-2.0

/** Entries that begin before an address and are looked at in search of the latest: maps are written by anyone. */
const MAX_OVERLAP = 1024;

/**
 * A perf map: the text file in which a JIT says where its functions are, one a line, `START SIZE name`, numbers in
 * hexadecimal. (tools/perf/Documentation/jit-interface.txt of Linux.) A JIT only appends; where it uses memory again, the
 * later line holds.
 */
export class PerfMap {
  #starts: number[] = [];
  #ends: number[] = [];
  #names: string[] = [];
  /** Rows by start; made anew after lines were added. */
  #order: Uint32Array | undefined;
  /** Of the rows up to and including this one in `#order`, the largest end: where a search backwards may stop. */
  #reach: Float64Array = new Float64Array(0);
  #rest = '';
  /** Lines of another form. */
  malformed = 0;

  /** Functions known. */
  get count(): number {
    return this.#starts.length;
  }

  /** Takes the next part of the file; a line may be cut at its end. Entries above `maxEntries` are left out. */
  append(text: string, maxEntries = 1_000_000): void {
    const lines = (this.#rest + text).split('\n');
    this.#rest = lines.pop() ?? '';
    for (const line of lines) {
      const [, start, size, name] = /^(?:0x)?([0-9a-f]{1,16}) (?:0x)?([0-9a-f]{1,16}) (.+)$/i.exec(line) ?? [];
      const from = Number.parseInt(start, 16);
      const to = from + Number.parseInt(size, 16);
      if (!(to > from) || !Number.isSafeInteger(to) || this.#starts.length >= maxEntries) {
        if (line !== '') this.malformed++;
        continue;
      }
      this.#starts.push(from);
      this.#ends.push(to);
      this.#names.push(name);
      this.#order = undefined;
    }
    if (this.#rest.length > 1 << 16) {
      this.#rest = '';
      this.malformed++;
    }
  }

  /** The function at an address; of several that were there one after the other, the latest. */
  nameAt(address: number): string | undefined {
    this.#order ??= this.#sort();
    let low = 0;
    let high = this.#order.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#starts[this.#order[middle]] <= address) low = middle + 1;
      else high = middle;
    }
    let latest = -1;
    for (let i = low - 1; i >= Math.max(0, low - MAX_OVERLAP) && this.#reach[i] > address; i--) {
      const row = this.#order[i];
      if (this.#ends[row] > address && row > latest) latest = row;
    }
    return latest < 0 ? undefined : this.#names[latest];
  }

  #sort(): Uint32Array {
    const order = Uint32Array.from(this.#starts.keys()).sort((a, b) => this.#starts[a] - this.#starts[b] || a - b);
    this.#reach = new Float64Array(order.length);
    let reach = 0;
    for (let i = 0; i < order.length; i++) {
      reach = Math.max(reach, this.#ends[order[i]]);
      this.#reach[i] = reach;
    }
    return order;
  }
}
