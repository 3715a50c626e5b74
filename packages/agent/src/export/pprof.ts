// SPDX-License-Identifier: Apache-2.0
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import { ATTRIBUTE } from '../profile/attribute-names.ts';
import type { AttributeValue } from '../profile/attribute-table.ts';
import { type MappingHandle, NO_MAPPING } from '../profile/mapping-table.ts';
import type { Profile, ValueType } from '../profile/profile.ts';
import type { SampleHandle } from '../profile/sample-table.ts';
import { EMPTY_STRING } from '../profile/string-table.ts';
import { Dictionary } from './dictionary.ts';
import { ProtobufWriter } from './protobuf-writer.ts';

/** Attributes that pprof users know under a shorter name. */
const LABEL_NAMES: Readonly<Record<string, string>> = {
  [ATTRIBUTE.processPid]: 'pid',
  [ATTRIBUTE.processExecutableName]: 'process',
  [ATTRIBUTE.threadId]: 'tid',
  [ATTRIBUTE.threadName]: 'thread',
};

/** pprof's profile.proto (github.com/google/pprof/proto), compressed with gzip as its readers expect. */
export async function encodePprof(profile: Profile): Promise<Uint8Array> {
  return promisify(gzip)(encodePprofMessage(profile));
}

/** The message itself, not compressed. */
export function encodePprofMessage(profile: Profile): Uint8Array {
  const plan = collect(profile);
  const { dictionary, sampleTypes, comments } = plan;

  // Fields in reverse order: see ProtobufWriter.
  const writer = new ProtobufWriter();
  const table = (field: number, first: number, length: number, writeRow: (index: number) => void) => {
    for (let i = length - 1; i >= first; i--) {
      const end = writer.length;
      writeRow(i);
      writer.message(field, end);
    }
  };
  const writeValueType = ({ type, unit }: ValueType) => {
    writer.uint(2, dictionary.string(unit));
    writer.uint(1, dictionary.string(type));
  };
  writer.uint(14, dictionary.string(sampleTypes[sampleTypes.length - 1].type));
  const commentsEnd = writer.length;
  for (let i = comments.length - 1; i >= 0; i--) writer.varint(dictionary.string(comments[i]));
  writer.packed(13, commentsEnd);
  writer.uint(12, profile.periodNano);
  if (plan.isCpu) table(11, 0, 1, () => writeValueType(sampleTypes[1]));
  writer.int64(10, profile.durationNano);
  writer.int64(9, profile.startUnixNano);
  for (let i = dictionary.strings.length - 1; i >= 0; i--) writer.stringElement(6, dictionary.strings[i]);
  table(5, 1, dictionary.functions.length, (id) => writeFunction(writer, plan, id));
  table(4, 1, dictionary.locations.length, (id) => writeLocation(writer, plan, id));
  table(3, 1, dictionary.mappings.length, (id) => writeMapping(writer, plan, id));
  table(2, 0, profile.samples.count, (i) => writeSample(writer, plan, i as SampleHandle));
  table(1, 0, sampleTypes.length, (i) => writeValueType(sampleTypes[i]));
  return writer.finish();
}

interface PprofPlan {
  profile: Profile;
  dictionary: Dictionary;
  /** Samples are counted and stand for CPU time, one period each. */
  isCpu: boolean;
  sampleTypes: ValueType[];
  comments: string[];
  coverage: Map<MappingHandle, Coverage>;
}

/** What is known of the addresses of a mapping: pprof asks for it per mapping, so as not to symbolize it again. */
interface Coverage {
  functions: boolean;
  files: boolean;
  lines: boolean;
  inlines: boolean;
}

function collect(profile: Profile): PprofPlan {
  const { samples, stacks } = profile;
  const dictionary = new Dictionary(profile);
  for (const mapping of executableMappings(profile)) dictionary.mapping(mapping); // pprof: the first is the main binary
  for (let i = 0; i < samples.count; i++) {
    const sample = i as SampleHandle;
    for (const frame of stacks.leafFirst(samples.stack(sample))) dictionary.location(frame);
    for (const [key, value] of labelsOf(profile, sample)) {
      dictionary.string(key);
      if (!isNumber(value)) dictionary.string(String(value));
    }
  }
  for (const mapping of dictionary.mappings) dictionary.string(profile.mappings.get(mapping).buildId);
  const isCpu = profile.periodNano > 0 && profile.sampleType.unit === 'count';
  const sampleTypes = [profile.sampleType, ...(isCpu ? [{ type: 'cpu', unit: 'nanoseconds' }] : [])];
  const comments = profile.outcomes.map(({ outcome, reason, count }) => `${count} samples ${outcome}: ${reason}`);
  for (const text of [...sampleTypes.flatMap(({ type, unit }) => [type, unit]), ...comments]) dictionary.string(text);
  dictionary.close();
  return { profile, dictionary, isCpu, sampleTypes, comments, coverage: coverageByMapping(profile, dictionary) };
}

/** The mappings of the executables, as opposed to libraries and the kernel. */
function executableMappings({ samples, attributes, mappings }: Profile): MappingHandle[] {
  const paths = new Set<unknown>();
  for (let i = 0; i < samples.count; i++) {
    paths.add(attributes.entries(samples.resource(i as SampleHandle)).get(ATTRIBUTE.processExecutablePath));
  }
  const handles = Array.from({ length: mappings.count }, (_, i) => i as MappingHandle);
  return handles.filter((handle) => handle !== NO_MAPPING && paths.has(mappings.get(handle).filename));
}

function coverageByMapping({ frames, functions }: Profile, dictionary: Dictionary): Map<MappingHandle, Coverage> {
  const coverage = new Map<MappingHandle, Coverage>();
  for (const handle of dictionary.mappings) {
    coverage.set(handle, { functions: true, files: false, lines: false, inlines: false });
  }
  for (const location of dictionary.locations) {
    const known = coverage.get(frames.mapping(location))!;
    const lines = frames.lines(location);
    known.functions &&= lines.length > 0; // one address without a name, and pprof should try
    known.files ||= lines.some((line) => functions.file(frames.function(line)) !== EMPTY_STRING);
    known.lines ||= lines.some((line) => frames.line(line) !== 0);
    known.inlines ||= lines.length > 1;
  }
  return coverage;
}

/** Attributes of a sample and of its resource, under the names of labels. */
function labelsOf({ samples, attributes }: Profile, sample: SampleHandle): Map<string, AttributeValue> {
  const labels = new Map<string, AttributeValue>();
  for (const set of [samples.resource(sample), samples.attributes(sample)]) {
    for (const [key, value] of attributes.entries(set)) labels.set(LABEL_NAMES[key] ?? key, value);
  }
  return labels;
}

function isNumber(value: AttributeValue): value is number | bigint {
  return typeof value === 'number' || typeof value === 'bigint';
}

function writeSample(writer: ProtobufWriter, { profile, dictionary, isCpu }: PprofPlan, sample: SampleHandle): void {
  const { samples, stacks } = profile;
  for (const [key, value] of [...labelsOf(profile, sample)].reverse()) {
    const end = writer.length;
    if (isNumber(value)) writer.int64(3, BigInt(value));
    else writer.uint(2, dictionary.string(String(value)));
    writer.uint(1, dictionary.string(key));
    writer.message(3, end);
  }
  const values = writer.length;
  if (isCpu) writer.varint(samples.value(sample) * profile.periodNano);
  writer.varint(samples.value(sample));
  writer.packed(2, values);
  const frames = stacks.leafFirst(samples.stack(sample));
  const locations = writer.length;
  for (let i = frames.length - 1; i >= 0; i--) writer.varint(dictionary.location(frames[i]));
  writer.packed(1, locations);
}

function writeMapping(writer: ProtobufWriter, { profile, dictionary, coverage }: PprofPlan, id: number): void {
  const handle = dictionary.mappings[id];
  const { filename, buildId, memoryStart, memoryLimit, fileOffset } = profile.mappings.get(handle);
  const { functions, files, lines, inlines } = coverage.get(handle)!;
  writer.uint(10, inlines ? 1 : 0);
  writer.uint(9, lines ? 1 : 0);
  writer.uint(8, files ? 1 : 0);
  writer.uint(7, functions ? 1 : 0);
  writer.uint(6, dictionary.string(buildId));
  writer.uint(5, dictionary.string(filename));
  writer.int64(4, fileOffset);
  writer.int64(3, memoryLimit);
  writer.int64(2, memoryStart);
  writer.uint(1, id);
}

function writeLocation(writer: ProtobufWriter, { profile: { frames }, dictionary }: PprofPlan, id: number): void {
  const handle = dictionary.locations[id];
  for (const line of frames.lines(handle).reverse()) {
    const end = writer.length;
    writer.uint(2, frames.line(line));
    writer.uint(1, dictionary.function(frames.function(line)));
    writer.message(4, end);
  }
  writer.uint64(3, frames.addressLow(handle), frames.addressHigh(handle));
  writer.uint(2, dictionary.mapping(frames.mapping(handle)));
  writer.uint(1, id);
}

function writeFunction(writer: ProtobufWriter, { profile, dictionary }: PprofPlan, id: number): void {
  const { functions, strings } = profile;
  const handle = dictionary.functions[id];
  writer.uint(4, dictionary.string(strings.get(functions.file(handle))));
  writer.uint(3, dictionary.string(strings.get(functions.systemName(handle))));
  writer.uint(2, dictionary.string(strings.get(functions.name(handle))));
  writer.uint(1, id);
}
