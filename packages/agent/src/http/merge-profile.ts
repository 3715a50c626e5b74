// SPDX-License-Identifier: Apache-2.0
import { ATTRIBUTE } from '../profile/attribute-names.ts';
import type { AttributeSetHandle, AttributeValue } from '../profile/attribute-table.ts';
import { type FrameHandle, NO_FRAME } from '../profile/frame-table.ts';
import { type FunctionHandle, NO_FUNCTION } from '../profile/function-table.ts';
import { type MappingHandle, NO_MAPPING } from '../profile/mapping-table.ts';
import type { Profile } from '../profile/profile.ts';
import type { SampleHandle } from '../profile/sample-table.ts';
import { EMPTY_STACK, type StackHandle } from '../profile/stack-table.ts';

export interface MergeOptions {
  /** Which resources to take; absent: all. Gets the attributes of a resource. */
  readonly select?: (resource: ReadonlyMap<string, AttributeValue>) => boolean;
  /** No new stacks once `into` has so many; their samples are left out. */
  readonly maxStacks?: number;
}

/**
 * Adds the samples and outcomes of a profile to another one; times of single samples are not kept.
 * @returns the sum of values that were left out for `maxStacks`
 */
export function mergeProfile(from: Profile, into: Profile, options: MergeOptions = {}): number {
  const copy = new ProfileCopy(from, into);
  const resources = new Map<AttributeSetHandle, AttributeSetHandle | undefined>();
  const { samples } = from;
  const maxStacks = options.maxStacks ?? Number.POSITIVE_INFINITY;
  let leftOut = 0;
  for (let i = 0; i < samples.count; i++) {
    const sample = i as SampleHandle;
    const resource = samples.resource(sample);
    if (!resources.has(resource)) {
      const selected = options.select?.(from.attributes.entries(resource)) ?? true;
      resources.set(resource, selected ? copy.attributes(resource) : undefined);
    }
    const target = resources.get(resource);
    if (target === undefined) continue;
    const stack = copy.stack(samples.stack(sample), maxStacks);
    if (stack === undefined) {
      leftOut += samples.value(sample);
      continue;
    }
    if (options.select) countOutcomeOf(from, sample, into);
    into.samples.add(target, stack, copy.attributes(samples.attributes(sample)), samples.value(sample));
  }
  if (!options.select)
    for (const { outcome, reason, count } of from.outcomes) into.countOutcome(outcome, reason, count);
  return leftOut;
}

/** Outcomes are counted for all resources together; of a selection, samples say theirs themselves. */
function countOutcomeOf({ samples, attributes }: Profile, sample: SampleHandle, into: Profile): void {
  const facts = attributes.entries(samples.attributes(sample));
  const outcome = String(facts.get(ATTRIBUTE.stackOutcome) ?? 'complete');
  into.countOutcome(outcome, String(facts.get(ATTRIBUTE.truncationReason) ?? outcome), samples.value(sample));
}

/** Handles of one profile as handles of another; each is translated once. */
class ProfileCopy {
  readonly #from: Profile;
  readonly #into: Profile;
  readonly #functions = new Map<FunctionHandle, FunctionHandle>([[NO_FUNCTION, NO_FUNCTION]]);
  readonly #mappings = new Map<MappingHandle, MappingHandle>([[NO_MAPPING, NO_MAPPING]]);
  readonly #frames = new Map<FrameHandle, FrameHandle>([[NO_FRAME, NO_FRAME]]);
  readonly #attributes = new Map<AttributeSetHandle, AttributeSetHandle>();
  /** By handle of the source; 0 is not translated yet (and the empty stack, which is 0 in both). */
  readonly #stacks: Uint32Array;

  constructor(from: Profile, into: Profile) {
    this.#from = from;
    this.#into = into;
    this.#stacks = new Uint32Array(from.stacks.count);
  }

  attributes(handle: AttributeSetHandle): AttributeSetHandle {
    return translate(this.#attributes, handle, () =>
      this.#into.attributes.internSet(Object.fromEntries(this.#from.attributes.entries(handle))),
    );
  }

  /** Undefined when it would be a new stack above the limit. */
  stack(handle: StackHandle, maxStacks: number): StackHandle | undefined {
    const { stacks } = this.#from;
    const into = this.#into.stacks;
    const missing: StackHandle[] = [];
    let known = handle;
    for (; known !== EMPTY_STACK && this.#stacks[known] === 0; known = stacks.parent(known)) missing.push(known);
    let target = this.#stacks[known] as StackHandle;
    for (let i = missing.length - 1; i >= 0; i--) {
      const frame = this.#frame(stacks.frame(missing[i]));
      const next = into.count < maxStacks ? into.intern(target, frame) : into.find(target, frame);
      if (next === undefined) return undefined;
      target = next;
      this.#stacks[missing[i]] = target;
    }
    return target;
  }

  #frame(handle: FrameHandle): FrameHandle {
    return translate(this.#frames, handle, () => {
      const { frames } = this.#from;
      return this.#into.frames.intern({
        function: this.#function(frames.function(handle)),
        line: frames.line(handle),
        mapping: this.#mapping(frames.mapping(handle)),
        address: frames.address(handle),
        kind: frames.kind(handle),
        inlinedInto: this.#frame(frames.inlinedInto(handle)),
      });
    });
  }

  #function(handle: FunctionHandle): FunctionHandle {
    return translate(this.#functions, handle, () => {
      const { functions, strings } = this.#from;
      const into = this.#into.strings;
      return this.#into.functions.intern(
        into.intern(strings.get(functions.name(handle))),
        into.intern(strings.get(functions.systemName(handle))),
        into.intern(strings.get(functions.file(handle))),
      );
    });
  }

  #mapping(handle: MappingHandle): MappingHandle {
    return translate(this.#mappings, handle, () => this.#into.mappings.intern(this.#from.mappings.get(handle)));
  }
}

function translate<H>(known: Map<H, H>, handle: H, make: () => H): H {
  let target = known.get(handle);
  if (target === undefined) {
    target = make();
    known.set(handle, target);
  }
  return target;
}
