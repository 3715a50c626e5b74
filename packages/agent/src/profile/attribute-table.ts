// SPDX-License-Identifier: Apache-2.0

declare const brand: unique symbol;
/** Number of an attribute (key, value, unit) in an AttributeTable. */
export type AttributeHandle = number & { readonly [brand]: 'attribute' };
/** Number of a set of attributes in an AttributeTable; 0 is the empty set. */
export type AttributeSetHandle = number & { readonly [brand]: 'attribute set' };

export const NO_ATTRIBUTES = 0 as AttributeSetHandle;

/** A string, a boolean or an integer (a number must be a safe integer). */
export type AttributeValue = string | boolean | number | bigint;

export interface Attribute {
  key: string;
  value: AttributeValue;
}

/** Attributes by name; undefined values are left out. */
export type Attributes = Readonly<Record<string, AttributeValue | undefined>>;

/**
 * Attributes and sets of them, each distinct one once. Of resources (process, container) and of samples (thread,
 * outcome, reason).
 */
export class AttributeTable {
  readonly #attributes: Attribute[] = [];
  readonly #handles = new Map<string, AttributeHandle>();
  readonly #sets: Uint32Array[] = [new Uint32Array(0)];
  readonly #setHandles = new Map<string, AttributeSetHandle>([['', NO_ATTRIBUTES]]);

  get count(): number {
    return this.#attributes.length;
  }

  get setCount(): number {
    return this.#sets.length;
  }

  intern(key: string, value: AttributeValue): AttributeHandle {
    if (typeof value === 'number' && !Number.isSafeInteger(value)) {
      throw new RangeError(`attribute ${key}: ${value} is not a safe integer`);
    }
    const plain = typeof value === 'bigint' && Number.isSafeInteger(Number(value)) ? Number(value) : value;
    const text = `${typeof plain === 'bigint' ? 'number' : typeof plain}\0${key}\0${plain}`;
    let handle = this.#handles.get(text);
    if (handle === undefined) {
      handle = this.#attributes.length as AttributeHandle;
      this.#attributes.push({ key, value: plain });
      this.#handles.set(text, handle);
    }
    return handle;
  }

  /** The set of the given attributes; their order does not matter. */
  internSet(attributes: Attributes): AttributeSetHandle {
    const members: number[] = [];
    for (const [key, value] of Object.entries(attributes)) {
      if (value !== undefined) members.push(this.intern(key, value));
    }
    members.sort((a, b) => a - b);
    const key = members.join();
    let handle = this.#setHandles.get(key);
    if (handle === undefined) {
      handle = this.#sets.length as AttributeSetHandle;
      this.#sets.push(Uint32Array.from(members));
      this.#setHandles.set(key, handle);
    }
    return handle;
  }

  get(handle: AttributeHandle): Readonly<Attribute> {
    return this.#attributes[handle];
  }

  /** The members of a set, as attribute handles in ascending order. */
  members(handle: AttributeSetHandle): Uint32Array {
    return this.#sets[handle];
  }

  /** The members of a set, by key. */
  entries(handle: AttributeSetHandle): Map<string, AttributeValue> {
    const map = new Map<string, AttributeValue>();
    for (const member of this.#sets[handle]) {
      const { key, value } = this.#attributes[member];
      map.set(key, value);
    }
    return map;
  }
}
