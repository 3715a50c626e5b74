// SPDX-License-Identifier: Apache-2.0
import { ATTRIBUTE } from '../profile/attribute-names.ts';
import type { Attribute, AttributeSetHandle, AttributeValue } from '../profile/attribute-table.ts';
import { FRAME_KINDS, type FrameHandle, NO_FRAME } from '../profile/frame-table.ts';
import { type FunctionHandle, NO_FUNCTION } from '../profile/function-table.ts';
import { type MappingHandle, NO_MAPPING } from '../profile/mapping-table.ts';
import type { Profile } from '../profile/profile.ts';
import { EMPTY_STACK, type StackHandle } from '../profile/stack-table.ts';

/**
 * The part of a profile's tables that some of its samples need, renumbered from 1 without gaps. Index 0 of each list is
 * "none", as OTLP's dictionary wants it; pprof, whose identifiers start at 1, writes the lists from 1 on.
 */
export class Dictionary {
  readonly strings: string[] = [''];
  readonly functions: FunctionHandle[] = [NO_FUNCTION];
  readonly mappings: MappingHandle[] = [NO_MAPPING];
  readonly locations: FrameHandle[] = [NO_FRAME];
  readonly stacks: StackHandle[] = [EMPTY_STACK];
  /** Attributes of samples, mappings and locations; element 0 is only a place holder. */
  readonly attributes: Attribute[] = [{ key: '', value: '' }];

  readonly #profile: Profile;
  readonly #stringIndex = new Map<string, number>([['', 0]]);
  readonly #attributeIndex = new Map<string, number>();
  readonly #functionIndex: Uint32Array;
  readonly #mappingIndex: Uint32Array;
  readonly #locationIndex: Uint32Array;
  readonly #stackIndex: Uint32Array;
  readonly #setIndex = new Map<AttributeSetHandle, number[]>();
  #closed = false;

  constructor(profile: Profile) {
    this.#profile = profile;
    this.#functionIndex = new Uint32Array(profile.functions.count);
    this.#mappingIndex = new Uint32Array(profile.mappings.count);
    this.#locationIndex = new Uint32Array(profile.frames.count);
    this.#stackIndex = new Uint32Array(profile.stacks.count);
  }

  /** Everything is collected; from now on indices are only looked up. */
  close(): this {
    for (const { key } of this.attributes) this.string(key);
    this.#closed = true;
    return this;
  }

  /** Index of a text; adds it when it is new. */
  string(text: string): number {
    let index = this.#stringIndex.get(text);
    if (index === undefined) {
      if (this.#closed) throw new Error(`the encoder collects too little: ${JSON.stringify(text)} is missing`);
      index = this.strings.push(text) - 1;
      this.#stringIndex.set(text, index);
    }
    return index;
  }

  function(handle: FunctionHandle): number {
    if (handle === NO_FUNCTION || this.#functionIndex[handle] !== 0) return this.#functionIndex[handle];
    const { functions, strings } = this.#profile;
    this.string(strings.get(functions.name(handle)));
    this.string(strings.get(functions.systemName(handle)));
    this.string(strings.get(functions.file(handle)));
    this.#functionIndex[handle] = this.functions.push(handle) - 1;
    return this.#functionIndex[handle];
  }

  mapping(handle: MappingHandle): number {
    if (handle === NO_MAPPING || this.#mappingIndex[handle] !== 0) return this.#mappingIndex[handle];
    this.string(this.#profile.mappings.get(handle).filename);
    this.buildIdAttribute(handle);
    this.#mappingIndex[handle] = this.mappings.push(handle) - 1;
    return this.#mappingIndex[handle];
  }

  /** A frame with all that it was inlined into. */
  location(handle: FrameHandle): number {
    if (handle === NO_FRAME || this.#locationIndex[handle] !== 0) return this.#locationIndex[handle];
    const { frames } = this.#profile;
    this.mapping(frames.mapping(handle));
    for (let frame = handle; frame !== NO_FRAME; frame = frames.inlinedInto(frame)) {
      this.function(frames.function(frame));
    }
    this.frameTypeAttribute(handle);
    this.#locationIndex[handle] = this.locations.push(handle) - 1;
    return this.#locationIndex[handle];
  }

  stack(handle: StackHandle): number {
    if (handle === EMPTY_STACK || this.#stackIndex[handle] !== 0) return this.#stackIndex[handle];
    const { stacks } = this.#profile;
    for (const frame of stacks.leafFirst(handle)) this.location(frame);
    this.#stackIndex[handle] = this.stacks.push(handle) - 1;
    return this.#stackIndex[handle];
  }

  attribute(key: string, value: AttributeValue): number {
    const identity = `${typeof value}\0${key}\0${value}`;
    let index = this.#attributeIndex.get(identity);
    if (index === undefined) {
      index = this.attributes.push({ key, value }) - 1;
      this.#attributeIndex.set(identity, index);
    }
    return index;
  }

  attributeSet(handle: AttributeSetHandle): readonly number[] {
    let indices = this.#setIndex.get(handle);
    if (indices === undefined) {
      indices = [];
      for (const member of this.#profile.attributes.members(handle)) {
        const { key, value } = this.#profile.attributes.get(member as never);
        indices.push(this.attribute(key, value));
      }
      this.#setIndex.set(handle, indices);
    }
    return indices;
  }

  /** Index of the attribute that holds the build id of a mapping; 0 when it has none. */
  buildIdAttribute(handle: MappingHandle): number {
    const { buildId, buildIdKind } = this.#profile.mappings.get(handle);
    if (buildId === '') return 0;
    return this.attribute(buildIdKind === 'go' ? ATTRIBUTE.buildIdGo : ATTRIBUTE.buildIdGnu, buildId);
  }

  /** Index of the attribute that says what ran a frame. */
  frameTypeAttribute(handle: FrameHandle): number {
    return this.attribute(ATTRIBUTE.frameType, FRAME_KINDS[this.#profile.frames.kindIndex(handle)]);
  }
}
