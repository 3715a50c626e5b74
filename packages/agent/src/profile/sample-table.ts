// SPDX-License-Identifier: Apache-2.0
import type { AttributeSetHandle } from './attribute-table.ts';
import { withRoom } from './columns.ts';
import { finish, HandleIndex, mix } from './handle-index.ts';
import type { StackHandle } from './stack-table.ts';

declare const brand: unique symbol;
/** Number of a row in a SampleTable. */
export type SampleHandle = number & { readonly [brand]: 'sample' };

/**
 * Samples: one row per distinct (resource, stack, attributes), with the sum of the values of all samples that were
 * equal, and, where they were given, the time and value of each.
 */
export class SampleTable {
  #resources = new Uint32Array(64);
  #stacks = new Uint32Array(64);
  #attributes = new Uint32Array(64);
  #values = new Float64Array(64);
  readonly #index = new HandleIndex();

  // Observations with a time, in the order in which they came.
  #timeCount = 0;
  #timeOwners = new Uint32Array(16);
  #times = new BigUint64Array(16);
  #timeValues = new Float64Array(16);
  #allTimesWeighOne = true;
  #byOwner: { starts: Uint32Array; order: Uint32Array } | undefined;

  /** Rows. */
  get count(): number {
    return this.#index.count;
  }

  /** Observations that came with a time. */
  get timeCount(): number {
    return this.#timeCount;
  }

  /** Every observation that came with a time has the value 1. */
  get allTimesWeighOne(): boolean {
    return this.#allTimesWeighOne;
  }

  /**
   * Counts a sample.
   * @param value in the unit of the profile's sample type, a safe integer: 1 where samples are counted.
   * @param timeUnixNano when it was taken. Give it for all samples of a profile or for none.
   */
  add(
    resource: AttributeSetHandle,
    stack: StackHandle,
    attributes: AttributeSetHandle,
    value: number,
    timeUnixNano?: bigint,
  ): SampleHandle {
    const row = this.#intern(resource, stack, attributes);
    this.#values[row] += value;
    if (timeUnixNano !== undefined) {
      const i = this.#timeCount++;
      this.#timeOwners = withRoom(this.#timeOwners, i);
      this.#times = withRoom(this.#times, i);
      this.#timeValues = withRoom(this.#timeValues, i);
      this.#timeOwners[i] = row;
      this.#times[i] = timeUnixNano;
      this.#timeValues[i] = value;
      if (value !== 1) this.#allTimesWeighOne = false;
      this.#byOwner = undefined;
    }
    return row as SampleHandle;
  }

  #intern(resource: number, stack: number, attributes: number): number {
    const hash = finish(mix(mix(mix(0, resource), stack), attributes));
    let slot = this.#index.first(hash);
    for (let row = this.#index.at(slot); row >= 0; slot = this.#index.next(slot), row = this.#index.at(slot)) {
      if (this.#stacks[row] === stack && this.#resources[row] === resource && this.#attributes[row] === attributes) {
        return row;
      }
    }
    const row = this.#index.insert(slot, hash);
    this.#resources = withRoom(this.#resources, row);
    this.#stacks = withRoom(this.#stacks, row);
    this.#attributes = withRoom(this.#attributes, row);
    this.#values = withRoom(this.#values, row);
    this.#resources[row] = resource;
    this.#stacks[row] = stack;
    this.#attributes[row] = attributes;
    return row;
  }

  resource(sample: SampleHandle): AttributeSetHandle {
    return this.#resources[sample] as AttributeSetHandle;
  }

  stack(sample: SampleHandle): StackHandle {
    return this.#stacks[sample] as StackHandle;
  }

  attributes(sample: SampleHandle): AttributeSetHandle {
    return this.#attributes[sample] as AttributeSetHandle;
  }

  /** Sum of the values of all equal samples. */
  value(sample: SampleHandle): number {
    return this.#values[sample];
  }

  /** Times of a row (ns since 1970) with the value at each time, in the order in which they came. */
  observations(sample: SampleHandle): { times: bigint[]; values: number[] } {
    this.#byOwner ??= this.#groupByOwner();
    const { starts, order } = this.#byOwner;
    const times: bigint[] = [];
    const values: number[] = [];
    for (let i = starts[sample]; i < starts[sample + 1]; i++) {
      times.push(this.#times[order[i]]);
      values.push(this.#timeValues[order[i]]);
    }
    return { times, values };
  }

  /** A counting sort: observations of row r are order[starts[r]] to order[starts[r + 1] - 1]. */
  #groupByOwner(): { starts: Uint32Array; order: Uint32Array } {
    const starts = new Uint32Array(this.count + 1);
    for (let i = 0; i < this.#timeCount; i++) starts[this.#timeOwners[i] + 1]++;
    for (let row = 0; row < this.count; row++) starts[row + 1] += starts[row];
    const next = starts.slice();
    const order = new Uint32Array(this.#timeCount);
    for (let i = 0; i < this.#timeCount; i++) order[next[this.#timeOwners[i]]++] = i;
    return { starts, order };
  }
}
