// SPDX-License-Identifier: Apache-2.0
import type { AttributeValue } from '../profile/attribute-table.ts';
import { NO_FRAME } from '../profile/frame-table.ts';
import type { Profile } from '../profile/profile.ts';
import type { SampleHandle } from '../profile/sample-table.ts';
import { groupByResource, type OtlpOptions, type OtlpPlan, planOtlp, type ResourceSamples } from './otlp.ts';

/**
 * The request of `encodeOtlp` as OTLP/JSON: lowerCamelCase names, 64-bit integers as decimal strings, trace and span
 * ids as hexadecimal, zero values left out.
 */
export function encodeOtlpJson(profile: Profile, options: OtlpOptions = {}): string {
  const resources = groupByResource(profile);
  const plan = planOtlp(profile, resources, options);
  const request = {
    resourceProfiles: resources.map((group) => resourceProfiles(plan, group)),
    dictionary: dictionaryJson(plan),
  };
  return `${JSON.stringify(request, undefined, 1)}\n`;
}

function resourceProfiles(plan: OtlpPlan, group: ResourceSamples): object {
  const attributes = [...plan.profile.attributes.entries(group.resource)];
  return {
    resource: withoutZeros({ attributes: attributes.map(([key, value]) => ({ key, value: anyValue(value) })) }),
    scopeProfiles: [
      { scope: withoutZeros(plan.scope), profiles: [profileJson(plan, group)], schemaUrl: plan.schemaUrl },
    ],
    schemaUrl: plan.schemaUrl,
  };
}

function profileJson({ profile, dictionary, shape }: OtlpPlan, group: ResourceSamples): object {
  const valueType = (type: string, unit: string) =>
    withoutZeros({ typeStrindex: dictionary.string(type), unitStrindex: dictionary.string(unit) });
  return withoutZeros({
    sampleType: valueType(profile.sampleType.type, profile.sampleType.unit),
    samples: group.samples.map((sample) =>
      withoutZeros({
        stackIndex: dictionary.stack(profile.samples.stack(sample)),
        attributeIndices: dictionary.attributeSet(profile.samples.attributes(sample)),
        ...weights(profile, shape, sample),
      }),
    ),
    timeUnixNano: decimal(profile.startUnixNano),
    durationNano: decimal(profile.durationNano),
    periodType: profile.periodNano > 0 ? valueType('cpu', 'nanoseconds') : undefined,
    period: decimal(profile.periodNano),
  });
}

function weights(profile: Profile, shape: OtlpPlan['shape'], sample: SampleHandle): object {
  if (shape === 'values') return { values: [String(profile.samples.value(sample))] };
  const { times, values } = profile.samples.observations(sample);
  return {
    values: shape === 'both' ? values.map(String) : [],
    timestampsUnixNano: times.map(String),
  };
}

function dictionaryJson({ profile, dictionary }: OtlpPlan): object {
  const { frames, functions, mappings, stacks, strings } = profile;
  return {
    mappingTable: dictionary.mappings.map((handle) => {
      const { filename, memoryStart, memoryLimit, fileOffset } = mappings.get(handle);
      const buildId = dictionary.buildIdAttribute(handle);
      return withoutZeros({
        memoryStart: decimal(memoryStart),
        memoryLimit: decimal(memoryLimit),
        fileOffset: decimal(fileOffset),
        filenameStrindex: dictionary.string(filename),
        attributeIndices: buildId === 0 ? [] : [buildId],
      });
    }),
    locationTable: dictionary.locations.map((handle) =>
      handle === NO_FRAME
        ? {}
        : withoutZeros({
            mappingIndex: dictionary.mapping(frames.mapping(handle)),
            address: decimal(frames.address(handle)),
            lines: frames.lines(handle).map((frame) =>
              withoutZeros({
                functionIndex: dictionary.function(frames.function(frame)),
                line: decimal(frames.line(frame)),
              }),
            ),
            attributeIndices: [dictionary.frameTypeAttribute(handle)],
          }),
    ),
    functionTable: dictionary.functions.map((handle) =>
      withoutZeros({
        nameStrindex: dictionary.string(strings.get(functions.name(handle))),
        systemNameStrindex: dictionary.string(strings.get(functions.systemName(handle))),
        filenameStrindex: dictionary.string(strings.get(functions.file(handle))),
      }),
    ),
    linkTable: [{ traceId: '0'.repeat(32), spanId: '0'.repeat(16) }],
    stringTable: dictionary.strings,
    attributeTable: dictionary.attributes.map(({ key, value }, i) =>
      i === 0 ? {} : withoutZeros({ keyStrindex: dictionary.string(key), value: anyValue(value) }),
    ),
    stackTable: dictionary.stacks.map((handle) =>
      withoutZeros({ locationIndices: stacks.leafFirst(handle).map((frame) => dictionary.location(frame)) }),
    ),
  };
}

function anyValue(value: AttributeValue): object {
  if (typeof value === 'string') return { stringValue: value };
  if (typeof value === 'boolean') return { boolValue: value };
  return { intValue: String(value) };
}

/** A 64-bit integer as ProtoJSON writes it; undefined for zero. */
function decimal(value: number | bigint): string | undefined {
  return BigInt(value) === 0n ? undefined : String(value);
}

/** Without fields that hold the default of their type. */
function withoutZeros(message: Record<string, unknown>): object {
  const isZero = (value: unknown) =>
    value === undefined || value === 0 || value === '' || (Array.isArray(value) && value.length === 0);
  return Object.fromEntries(Object.entries(message).filter(([, value]) => !isZero(value)));
}
