// SPDX-License-Identifier: Apache-2.0
import type { AttributeHandle, AttributeSetHandle, AttributeValue } from '../profile/attribute-table.ts';
import type { Profile } from '../profile/profile.ts';
import type { SampleHandle } from '../profile/sample-table.ts';
import { Dictionary } from './dictionary.ts';
import { ProtobufWriter } from './protobuf-writer.ts';

/**
 * The layout that this file writes: opentelemetry.proto.collector.profiles.v1development of opentelemetry-proto 1.11.0
 * (`proto/` holds the definitions, and a test decodes our bytes with them). Version 1.10 renumbered the fields of
 * Sample without a new package name, so receivers of 1.9 and older misread these bytes.
 */
export const OTLP_PROTO_VERSION = '1.11.0';

const SCHEMA_URL = 'https://opentelemetry.io/schemas/1.45.0';

export interface OtlpOptions {
  /** Version of this program, for the instrumentation scope. */
  scopeVersion?: string;
}

/** The samples of one resource, in the order in which they are written. */
export interface ResourceSamples {
  resource: AttributeSetHandle;
  samples: SampleHandle[];
}

/** How the samples of a profile say how much they weigh; one way for all samples of a profile. */
export type SampleShape = 'values' | 'timestamps' | 'both';

/** What of a profile goes into one request, and under which indices. */
export interface OtlpPlan {
  profile: Profile;
  dictionary: Dictionary;
  resources: ResourceSamples[];
  shape: SampleShape;
  scope: { name: string; version: string };
  schemaUrl: string;
}

/**
 * All samples of a profile, grouped by resource. The format lists each stack in full; stacks with a common outer part come one
 * after the other, so that compression finds it, and requests that a profile is split into share less of their dictionaries.
 */
export function groupByResource(profile: Profile): ResourceSamples[] {
  const groups = new Map<AttributeSetHandle, ResourceSamples>();
  for (let i = 0; i < profile.samples.count; i++) {
    const sample = i as SampleHandle;
    const resource = profile.samples.resource(sample);
    let group = groups.get(resource);
    if (!group) {
      group = { resource, samples: [] };
      groups.set(resource, group);
    }
    group.samples.push(sample);
  }
  const order = profile.stacks.treeOrder();
  const place = (sample: SampleHandle) => order[profile.samples.stack(sample)];
  for (const { samples } of groups.values()) samples.sort((a, b) => place(a) - place(b));
  return [...groups.values()];
}

/** Collects what the given samples need. */
export function planOtlp(profile: Profile, resources: ResourceSamples[], options: OtlpOptions = {}): OtlpPlan {
  const dictionary = new Dictionary(profile);
  dictionary.string(profile.sampleType.type);
  dictionary.string(profile.sampleType.unit);
  if (profile.periodNano > 0) {
    dictionary.string('cpu');
    dictionary.string('nanoseconds');
  }
  for (const { samples } of resources) {
    for (const sample of samples) {
      dictionary.stack(profile.samples.stack(sample));
      dictionary.attributeSet(profile.samples.attributes(sample));
    }
  }
  let shape: SampleShape = 'values';
  if (profile.samples.timeCount > 0) shape = profile.samples.allTimesWeighOne ? 'timestamps' : 'both';
  const scope = { name: 'plumbline', version: options.scopeVersion ?? '' };
  dictionary.close();
  return { profile, dictionary, resources, shape, scope, schemaUrl: SCHEMA_URL };
}

/**
 * An ExportProfilesServiceRequest (equal in form to ProfilesData) of the given samples, by default of all of a profile:
 * one ResourceProfiles per resource, all over one dictionary.
 */
export function encodeOtlp(
  profile: Profile,
  options: OtlpOptions = {},
  resources: ResourceSamples[] = groupByResource(profile),
): Uint8Array {
  const plan = planOtlp(profile, resources, options);
  const writer = new ProtobufWriter();
  const end = writer.length;
  writeDictionary(writer, plan);
  writer.message(2, end);
  for (let i = resources.length - 1; i >= 0; i--) {
    const end = writer.length;
    writeResourceProfiles(writer, plan, resources[i]);
    writer.message(1, end);
  }
  return writer.finish();
}

// Every function below writes the fields of one message, the last first (see ProtobufWriter).

function writeResourceProfiles(writer: ProtobufWriter, plan: OtlpPlan, group: ResourceSamples): void {
  writer.string(3, plan.schemaUrl);
  const scopeProfiles = writer.length;
  writer.string(3, plan.schemaUrl);
  const profile = writer.length;
  writeProfile(writer, plan, group);
  writer.message(2, profile);
  const scope = writer.length;
  writer.string(2, plan.scope.version);
  writer.string(1, plan.scope.name);
  writer.message(1, scope);
  writer.message(2, scopeProfiles);

  const resource = writer.length;
  const { attributes } = plan.profile;
  const members = attributes.members(group.resource);
  for (let i = members.length - 1; i >= 0; i--) {
    const { key, value } = attributes.get(members[i] as AttributeHandle);
    const end = writer.length;
    writeAnyValue(writer, 2, value);
    writer.string(1, key);
    writer.message(1, end);
  }
  writer.message(1, resource);
}

function writeProfile(writer: ProtobufWriter, plan: OtlpPlan, group: ResourceSamples): void {
  const { profile, dictionary } = plan;
  if (profile.periodNano > 0) {
    writer.uint(6, profile.periodNano);
    const periodType = writer.length;
    writer.uint(2, dictionary.string('nanoseconds'));
    writer.uint(1, dictionary.string('cpu'));
    writer.message(5, periodType);
  }
  writer.int64(4, profile.durationNano);
  writer.fixed64(3, profile.startUnixNano);
  for (let i = group.samples.length - 1; i >= 0; i--) {
    const end = writer.length;
    writeSample(writer, plan, group.samples[i]);
    writer.message(2, end);
  }
  const sampleType = writer.length;
  writer.uint(2, dictionary.string(profile.sampleType.unit));
  writer.uint(1, dictionary.string(profile.sampleType.type));
  writer.message(1, sampleType);
}

function writeSample(writer: ProtobufWriter, plan: OtlpPlan, sample: SampleHandle): void {
  const { profile, dictionary, shape } = plan;
  const { samples } = profile;
  const values = writer.length;
  if (shape === 'values') {
    writer.varint(samples.value(sample));
    writer.packed(4, values);
  } else {
    const observations = samples.observations(sample);
    for (let i = observations.times.length - 1; i >= 0; i--) writer.fixed64Value(observations.times[i]);
    writer.packed(5, values);
    if (shape === 'both') {
      const end = writer.length;
      for (let i = observations.values.length - 1; i >= 0; i--) writer.varint(observations.values[i]);
      writer.packed(4, end);
    }
  }
  const attributes = writer.length;
  const indices = dictionary.attributeSet(samples.attributes(sample));
  for (let i = indices.length - 1; i >= 0; i--) writer.varint(indices[i]);
  writer.packed(2, attributes);
  writer.uint(1, dictionary.stack(samples.stack(sample)));
}

function writeDictionary(writer: ProtobufWriter, plan: OtlpPlan): void {
  const { dictionary } = plan;
  const table = (field: number, length: number, writeRow: (index: number) => void) => {
    for (let i = length - 1; i >= 0; i--) {
      const end = writer.length;
      writeRow(i);
      writer.message(field, end);
    }
  };
  table(7, dictionary.stacks.length, (i) => writeStack(writer, plan, i));
  table(6, dictionary.attributes.length, (i) => writeAttribute(writer, plan, i));
  for (let i = dictionary.strings.length - 1; i >= 0; i--) writer.stringElement(5, dictionary.strings[i]);
  table(4, 1, () => {
    writer.bytes(2, new Uint8Array(8)); // the zero link: there are no others
    writer.bytes(1, new Uint8Array(16));
  });
  table(3, dictionary.functions.length, (i) => writeFunction(writer, plan, i));
  table(2, dictionary.locations.length, (i) => writeLocation(writer, plan, i));
  table(1, dictionary.mappings.length, (i) => writeMapping(writer, plan, i));
}

function writeStack(writer: ProtobufWriter, { profile: { stacks }, dictionary }: OtlpPlan, index: number): void {
  const frames = stacks.leafFirst(dictionary.stacks[index]);
  const end = writer.length;
  for (let i = frames.length - 1; i >= 0; i--) writer.varint(dictionary.location(frames[i]));
  writer.packed(1, end);
}

function writeAttribute(writer: ProtobufWriter, { dictionary }: OtlpPlan, index: number): void {
  if (index === 0) return;
  const { key, value } = dictionary.attributes[index];
  writeAnyValue(writer, 2, value);
  writer.uint(1, dictionary.string(key));
}

function writeFunction(writer: ProtobufWriter, { profile, dictionary }: OtlpPlan, index: number): void {
  const { functions, strings } = profile;
  const handle = dictionary.functions[index];
  writer.uint(3, dictionary.string(strings.get(functions.file(handle))));
  writer.uint(2, dictionary.string(strings.get(functions.systemName(handle))));
  writer.uint(1, dictionary.string(strings.get(functions.name(handle))));
}

function writeLocation(writer: ProtobufWriter, { profile: { frames }, dictionary }: OtlpPlan, index: number): void {
  if (index === 0) return;
  const handle = dictionary.locations[index];
  const attributes = writer.length;
  writer.varint(dictionary.frameTypeAttribute(handle));
  writer.packed(4, attributes);
  const chain = frames.lines(handle);
  for (let i = chain.length - 1; i >= 0; i--) {
    const end = writer.length;
    writer.uint(2, frames.line(chain[i]));
    writer.uint(1, dictionary.function(frames.function(chain[i])));
    writer.message(3, end);
  }
  writer.uint64(2, frames.addressLow(handle), frames.addressHigh(handle));
  writer.uint(1, dictionary.mapping(frames.mapping(handle)));
}

function writeMapping(writer: ProtobufWriter, { profile, dictionary }: OtlpPlan, index: number): void {
  const handle = dictionary.mappings[index];
  const { filename, memoryStart, memoryLimit, fileOffset } = profile.mappings.get(handle);
  const attributes = writer.length;
  const buildId = dictionary.buildIdAttribute(handle);
  if (buildId !== 0) writer.varint(buildId);
  writer.packed(5, attributes);
  writer.uint(4, dictionary.string(filename));
  writer.int64(3, fileOffset);
  writer.int64(2, memoryLimit);
  writer.int64(1, memoryStart);
}

function writeAnyValue(writer: ProtobufWriter, field: number, value: AttributeValue): void {
  const end = writer.length;
  if (typeof value === 'string') writer.stringElement(1, value);
  else if (typeof value === 'boolean') writer.boolElement(2, value);
  else writer.int64Element(3, BigInt(value));
  writer.message(field, end);
}
