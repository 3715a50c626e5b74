// SPDX-License-Identifier: Apache-2.0
/**
 * OTLP profiles (opentelemetry.proto.profiles.v1development) as the collector's file exporter writes them in JSON, with
 * every index into the dictionary replaced by what it stands for: independent of the agent's encoder, so that tests
 * compare meaning with meaning.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** In the collector's folder: one request per line. */
export const PROFILES_FILE = 'profiles.jsonl';

export type AttributeValue = string | number | boolean | readonly AttributeValue[] | null;
export type Attributes = Readonly<Record<string, AttributeValue>>;

export interface ResolvedFrame {
  /** Empty when the location has no function. */
  readonly function: string;
  readonly file: string;
  readonly line: number;
  /** Address in the mapping's file. */
  readonly address: bigint;
  /** File name of the mapping; empty when there is none. */
  readonly mapping: string;
  readonly mappingAttributes: Attributes;
  readonly attributes: Attributes;
}

export interface ResolvedSample {
  /** Leaf first; inlined calls are frames of their own. */
  readonly frames: readonly ResolvedFrame[];
  readonly attributes: Attributes;
  readonly values: readonly number[];
  readonly timestampsUnixNano: readonly bigint[];
}

export interface ResolvedProfile {
  readonly resource: Attributes;
  readonly scope: string;
  readonly sampleType: { readonly type: string; readonly unit: string };
  readonly periodType: { readonly type: string; readonly unit: string };
  readonly period: number;
  readonly timeUnixNano: bigint;
  readonly durationNano: bigint;
  readonly attributes: Attributes;
  readonly samples: readonly ResolvedSample[];
}

// ---- the JSON encoding: absent fields are zero or empty, 64-bit integers are strings ------------------------------------

interface AnyValue {
  readonly stringValue?: string;
  readonly stringValueStrindex?: number;
  readonly intValue?: string | number;
  readonly doubleValue?: number;
  readonly boolValue?: boolean;
  readonly bytesValue?: string;
  readonly arrayValue?: { readonly values?: readonly AnyValue[] };
}

interface KeyValue {
  readonly key?: string;
  readonly keyStrindex?: number;
  readonly value?: AnyValue;
}

interface ValueType {
  readonly typeStrindex?: number;
  readonly unitStrindex?: number;
}

interface Sample {
  readonly stackIndex?: number;
  readonly attributeIndices?: readonly number[];
  readonly values?: readonly (string | number)[];
  readonly timestampsUnixNano?: readonly (string | number)[];
}

interface Profile {
  readonly sampleType?: ValueType;
  readonly periodType?: ValueType;
  readonly period?: string | number;
  readonly timeUnixNano?: string | number;
  readonly durationNano?: string | number;
  readonly attributeIndices?: readonly number[];
  readonly samples?: readonly Sample[];
}

interface Dictionary {
  readonly stringTable?: readonly string[];
  readonly mappingTable?: readonly {
    readonly filenameStrindex?: number;
    readonly attributeIndices?: readonly number[];
  }[];
  readonly functionTable?: readonly { readonly nameStrindex?: number; readonly filenameStrindex?: number }[];
  readonly locationTable?: readonly {
    readonly mappingIndex?: number;
    readonly address?: string | number;
    readonly lines?: readonly { readonly functionIndex?: number; readonly line?: string | number }[];
    readonly attributeIndices?: readonly number[];
  }[];
  readonly stackTable?: readonly { readonly locationIndices?: readonly number[] }[];
  readonly attributeTable?: readonly KeyValue[];
}

export interface ProfilesData {
  readonly resourceProfiles?: readonly {
    readonly resource?: { readonly attributes?: readonly KeyValue[] };
    readonly scopeProfiles?: readonly {
      readonly scope?: { readonly name?: string };
      readonly profiles?: readonly Profile[];
    }[];
  }[];
  readonly dictionary?: Dictionary;
}

/** Every profile that a collector has written into its folder so far. */
export function readProfiles(directory: string): ResolvedProfile[] {
  const path = join(directory, PROFILES_FILE);
  if (!existsSync(path)) return [];
  const lines = readFileSync(path, 'utf8').split('\n');
  lines.pop(); // empty, or a line that is being written
  return lines.flatMap((line) => resolveProfiles(JSON.parse(line) as ProfilesData));
}

/** @throws RangeError when an index points outside its table. */
export function resolveProfiles({ resourceProfiles = [], dictionary = {} }: ProfilesData): ResolvedProfile[] {
  const resolver = new Resolver(dictionary);
  return resourceProfiles.flatMap(({ resource, scopeProfiles = [] }) =>
    scopeProfiles.flatMap(({ scope, profiles = [] }) =>
      profiles.map((profile) => ({
        resource: resolver.attributes(resource?.attributes),
        scope: scope?.name ?? '',
        ...resolver.profile(profile),
      })),
    ),
  );
}

class Resolver {
  readonly #dictionary: Dictionary;

  constructor(dictionary: Dictionary) {
    this.#dictionary = dictionary;
  }

  profile(profile: Profile): Omit<ResolvedProfile, 'resource' | 'scope'> {
    return {
      sampleType: this.#valueType(profile.sampleType),
      periodType: this.#valueType(profile.periodType),
      period: Number(profile.period ?? 0),
      timeUnixNano: BigInt(profile.timeUnixNano ?? 0),
      durationNano: BigInt(profile.durationNano ?? 0),
      attributes: this.#attributesAt(profile.attributeIndices),
      samples: (profile.samples ?? []).map((sample) => ({
        frames: this.#frames(sample.stackIndex ?? 0),
        attributes: this.#attributesAt(sample.attributeIndices),
        values: (sample.values ?? []).map(Number),
        timestampsUnixNano: (sample.timestampsUnixNano ?? []).map(BigInt),
      })),
    };
  }

  attributes(pairs: readonly KeyValue[] = []): Attributes {
    return Object.fromEntries(
      pairs.map(({ key, keyStrindex, value }) => [key || this.#string(keyStrindex), this.#value(value)]),
    );
  }

  #attributesAt(indices: readonly number[] = []): Attributes {
    return this.attributes(indices.map((index) => at('attributeTable', this.#dictionary.attributeTable, index)));
  }

  #frames(stackIndex: number): ResolvedFrame[] {
    const { stackTable, locationTable, mappingTable, functionTable } = this.#dictionary;
    const { locationIndices = [] } = at('stackTable', stackTable, stackIndex);
    return locationIndices.flatMap((locationIndex) => {
      const location = at('locationTable', locationTable, locationIndex);
      const mapping = at('mappingTable', mappingTable, location.mappingIndex ?? 0);
      const where = {
        address: BigInt(location.address ?? 0),
        mapping: this.#string(mapping.filenameStrindex),
        mappingAttributes: this.#attributesAt(mapping.attributeIndices),
        attributes: this.#attributesAt(location.attributeIndices),
      };
      if (!location.lines?.length) return [{ function: '', file: '', line: 0, ...where }];
      return location.lines.map(({ functionIndex = 0, line = 0 }) => {
        const { nameStrindex, filenameStrindex } = at('functionTable', functionTable, functionIndex);
        return {
          function: this.#string(nameStrindex),
          file: this.#string(filenameStrindex),
          line: Number(line),
          ...where,
        };
      });
    });
  }

  #valueType({ typeStrindex, unitStrindex }: ValueType = {}): { type: string; unit: string } {
    return { type: this.#string(typeStrindex), unit: this.#string(unitStrindex) };
  }

  #value(value: AnyValue = {}): AttributeValue {
    if (value.stringValue !== undefined) return value.stringValue;
    if (value.stringValueStrindex !== undefined) return this.#string(value.stringValueStrindex);
    if (value.intValue !== undefined) return Number(value.intValue);
    if (value.arrayValue !== undefined) return (value.arrayValue.values ?? []).map((item) => this.#value(item));
    return value.doubleValue ?? value.boolValue ?? value.bytesValue ?? null;
  }

  #string(index = 0): string {
    return at('stringTable', this.#dictionary.stringTable, index);
  }
}

function at<T>(table: string, entries: readonly T[] | undefined, index: number): T {
  const entry = entries?.[index];
  if (entry === undefined) throw new RangeError(`${table}[${index}] does not exist (${entries?.length ?? 0} entries)`);
  return entry;
}
