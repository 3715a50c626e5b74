// SPDX-License-Identifier: Apache-2.0
import { type AttributeSetHandle, type Attributes, AttributeTable } from './attribute-table.ts';
import { type FrameHandle, type FrameKind, FrameTable, NO_FRAME } from './frame-table.ts';
import { FunctionTable, NO_FUNCTION } from './function-table.ts';
import { type MappingHandle, MappingTable, NO_MAPPING } from './mapping-table.ts';
import { type SampleHandle, SampleTable } from './sample-table.ts';
import { type StackHandle, StackTable } from './stack-table.ts';
import { EMPTY_STRING, StringTable } from './string-table.ts';

/** What is counted and in which unit: `samples`/`count`, `off_cpu`/`nanoseconds`. */
export interface ValueType {
  type: string;
  unit: string;
}

export type ProfileTables = Pick<Profile, 'strings' | 'functions' | 'mappings' | 'frames' | 'stacks' | 'attributes'>;

export interface ProfileOptions {
  /** Start of the interval, ns since 1970. */
  startUnixNano: bigint;
  /** What `SampleTable.add` counts. Default samples/count. */
  sampleType?: ValueType;
  /** Between two samples of a CPU, in ns: 10^9 / frequency. 0 where samples are not taken periodically. */
  periodNano?: number;
}

/** One source line of an address, as a symbolizer finds it. */
export interface FrameLine {
  /** For people (demangled); empty when not known. */
  name: string;
  /** As in the symbol table; left out where it equals `name`. */
  systemName?: string;
  file?: string;
  /** 1-based; 0 or left out when not known. */
  line?: number;
}

/** Samples by what became of them, those included that left no stack (dropped, filtered). */
export interface OutcomeCount {
  outcome: string;
  reason: string;
  count: number;
}

/**
 * The samples of one interval: who (resource), where (stack), what else (attributes), how much (value).
 *
 * All content is interned into columnar tables and named by handles; handle 0 of each table is its "none". A profile is
 * filled, encoded by the pure functions of `export/`, and forgotten.
 */
export class Profile {
  readonly strings: StringTable;
  readonly functions: FunctionTable;
  readonly mappings: MappingTable;
  readonly frames: FrameTable;
  readonly stacks: StackTable;
  /** Attributes of resources and of samples. */
  readonly attributes: AttributeTable;
  readonly samples = new SampleTable();

  readonly startUnixNano: bigint;
  readonly sampleType: ValueType;
  readonly periodNano: number;
  /** Length of the interval in ns; set when the profile is closed. */
  durationNano = 0n;
  #outcomes = new Map<string, OutcomeCount>();

  /** @param tables of another profile, to be shared with it */
  constructor(options: ProfileOptions, tables?: ProfileTables) {
    this.strings = tables?.strings ?? new StringTable();
    this.functions = tables?.functions ?? new FunctionTable();
    this.mappings = tables?.mappings ?? new MappingTable();
    this.frames = tables?.frames ?? new FrameTable();
    this.stacks = tables?.stacks ?? new StackTable();
    this.attributes = tables?.attributes ?? new AttributeTable();
    this.startUnixNano = options.startUnixNano;
    this.sampleType = options.sampleType ?? { type: 'samples', unit: 'count' };
    this.periodNano = options.periodNano ?? 0;
  }

  /**
   * The frame of an address.
   * @param lines innermost inlined function first, the function that holds the code last; empty when nothing is known
   *   but the address.
   */
  internFrame(
    kind: FrameKind,
    mapping: MappingHandle,
    address: number | bigint,
    lines: readonly FrameLine[],
  ): FrameHandle {
    let frame = NO_FRAME;
    for (let i = lines.length - 1; i >= 0; i--) {
      const { name, systemName, file, line } = lines[i];
      const nameHandle = this.strings.intern(name);
      const fn = this.functions.intern(
        nameHandle,
        systemName === undefined ? nameHandle : this.strings.intern(systemName),
        file === undefined ? EMPTY_STRING : this.strings.intern(file),
      );
      if (fn === NO_FUNCTION) continue;
      frame = this.frames.intern({ function: fn, line: line ?? 0, mapping, address, kind, inlinedInto: frame });
    }
    if (frame === NO_FRAME) {
      frame = this.frames.intern({ function: NO_FUNCTION, line: 0, mapping, address, kind, inlinedInto: NO_FRAME });
    }
    return frame;
  }

  /** A frame that no machine ran: a name in brackets. */
  internSyntheticFrame(name: string): FrameHandle {
    return this.internFrame('synthetic', NO_MAPPING, 0, [{ name }]);
  }

  /** The root frame that stands for the part of a stack that could not be walked. */
  internTruncatedRoot(reason: string): FrameHandle {
    return this.internSyntheticFrame(truncatedRootName(reason));
  }

  /** The frame that stands for those left out of the middle of a stack. */
  internElidedFrames(): FrameHandle {
    return this.internSyntheticFrame(ELIDED_FRAMES);
  }

  /** Counts a sample; see SampleTable.add. */
  addSample(
    resource: AttributeSetHandle,
    stack: StackHandle,
    attributes: Attributes,
    value = 1,
    timeUnixNano?: bigint,
  ): SampleHandle {
    return this.samples.add(resource, stack, this.attributes.internSet(attributes), value, timeUnixNano);
  }

  /** The same samples with other stacks. The tables are shared: what `map` interns comes into both. */
  withStacks(map: (stack: StackHandle) => StackHandle): Profile {
    const { samples } = this;
    const other = new Profile(this, this);
    other.durationNano = this.durationNano;
    for (const entry of this.#outcomes.values()) other.countOutcome(entry.outcome, entry.reason, entry.count);
    for (let i = 0; i < samples.count; i++) {
      const sample = i as SampleHandle;
      const [resource, stack, attributes] = [
        samples.resource(sample),
        samples.stack(sample),
        samples.attributes(sample),
      ];
      const mapped = map(stack);
      if (samples.timeCount === 0) {
        other.samples.add(resource, mapped, attributes, samples.value(sample));
        continue;
      }
      const { times, values } = samples.observations(sample);
      for (const [k, time] of times.entries()) other.samples.add(resource, mapped, attributes, values[k], time);
    }
    return other;
  }

  /** Counts samples that had an outcome, with or without a stack in this profile. */
  countOutcome(outcome: string, reason: string, count = 1): void {
    const key = `${outcome}\0${reason}`;
    const entry = this.#outcomes.get(key);
    if (entry) entry.count += count;
    else this.#outcomes.set(key, { outcome, reason, count });
  }

  /** By outcome and reason, the most frequent first. */
  get outcomes(): OutcomeCount[] {
    return [...this.#outcomes.values()].map((entry) => ({ ...entry })).sort((a, b) => b.count - a.count);
  }
}

/**
 * Name of the synthetic frame between the two ends of a stack whose middle was left out. Without their number, which is an
 * attribute of the sample: stacks of a recursion that differ in nothing else lie on each other.
 */
export const ELIDED_FRAMES = '[elided: frame_limit]';

/** Whether a truncated stack hangs from its root all the same: only its middle was left out. */
export function hangsFromRoot(reason: string): boolean {
  return reason === 'frame_limit';
}

/** Name of the synthetic root frame of a truncated stack. */
export function truncatedRootName(reason: string): string {
  return `[truncated: ${reason}]`;
}
