// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import protobuf from 'protobufjs';
import type { FrameKind } from '../profile/frame-table.ts';
import { Profile } from '../profile/profile.ts';
import type { SampleHandle } from '../profile/sample-table.ts';
import { encodeOtlp, groupByResource, OTLP_PROTO_VERSION } from './otlp.ts';
import { encodeOtlpJson } from './otlp-json.ts';
import { arbitraryModel, buildProfile, type ModelFrame, type ModelSample, summarize } from './sample-model.ts';

const Request = await loadRequestType();

async function loadRequestType(): Promise<protobuf.Type> {
  const root = new protobuf.Root();
  root.resolvePath = (_origin, target) => fileURLToPath(new URL(`./proto/${target}`, import.meta.url));
  await root.load('opentelemetry/proto/collector/profiles/v1development/profiles_service.proto');
  return root.lookupType('opentelemetry.proto.collector.profiles.v1development.ExportProfilesServiceRequest');
}

// biome-ignore lint/suspicious/noExplicitAny: a decoded message, whose shape is what is tested
type Message = any;

/** The request as protobufjs reads it, with every field, 64-bit integers as decimal text. */
function decode(bytes: Uint8Array): Message {
  const message = Request.decode(bytes);
  assert.equal(Request.verify(message), null);
  return plain(message, Request);
}

function plain(message: protobuf.Message, type: protobuf.Type): Message {
  return type.toObject(message, { longs: String, bytes: Buffer, defaults: true, arrays: true, oneofs: true });
}

/** Samples as plain values, everything looked up in the dictionary: an independent reading of the format. */
function readSamples(request: Message): ModelSample[] {
  const { dictionary } = request;
  const text = (i: number): string => dictionary.stringTable[i];
  const any = (v: Message) => (v.value === 'intValue' ? Number(v.intValue) : v[v.value]);
  const samples: ModelSample[] = [];
  for (const rp of request.resourceProfiles) {
    const resource = Object.fromEntries(rp.resource.attributes.map((kv: Message) => [kv.key, any(kv.value)]));
    for (const profile of rp.scopeProfiles[0].profiles) {
      for (const sample of profile.samples) {
        const stack = dictionary.stackTable[sample.stackIndex].locationIndices.map((i: number): ModelFrame => {
          const location = dictionary.locationTable[i];
          const mapping = dictionary.mappingTable[location.mappingIndex];
          const kindAttribute = dictionary.attributeTable[location.attributeIndices[0]];
          assert.equal(text(kindAttribute.keyStrindex), 'profile.frame.type');
          const buildId = mapping.attributeIndices.map((a: number) => dictionary.attributeTable[a])[0];
          const kind = any(kindAttribute.value) as FrameKind;
          if (buildId) {
            assert.equal(text(buildId.keyStrindex), `process.executable.build_id.${kind === 'go' ? 'go' : 'gnu'}`);
          }
          return {
            kind,
            file: text(mapping.filenameStrindex),
            buildId: buildId ? any(buildId.value) : '',
            address: BigInt(location.address),
            lines: location.lines.map((l: Message) => {
              const fn = dictionary.functionTable[l.functionIndex];
              return {
                name: text(fn.nameStrindex),
                systemName: text(fn.systemNameStrindex),
                file: text(fn.filenameStrindex),
                line: Number(l.line),
              };
            }),
          };
        });
        const attributes = Object.fromEntries(
          sample.attributeIndices.map((i: number) => {
            const { keyStrindex, value } = dictionary.attributeTable[i];
            return [text(keyStrindex), any(value)];
          }),
        );
        const times = sample.timestampsUnixNano.map(BigInt);
        const values = sample.values.map(Number);
        const count = Math.max(times.length, values.length);
        for (let i = 0; i < count; i++) {
          samples.push({ resource, stack, attributes, value: values[i] ?? 1, time: times[i] });
        }
      }
    }
  }
  return samples;
}

test('every sample can be read back with the published definitions', () => {
  fc.assert(
    fc.property(arbitraryModel, (model) => {
      const request = decode(encodeOtlp(buildProfile(model)));
      const normal = (samples: ModelSample[]) =>
        // A function of which nothing is known is not written.
        summarize(
          samples.map((s) => ({ ...s, stack: s.stack.map((f) => ({ ...f, lines: f.lines.filter(isKnown) })) })),
        );
      assert.deepEqual(normal(readSamples(request)), normal(model.samples));
      for (const rp of request.resourceProfiles) {
        const [profile] = rp.scopeProfiles[0].profiles;
        assert.equal(profile.timeUnixNano, String(model.startUnixNano));
        assert.equal(profile.durationNano, String(model.durationNano));
        assert.equal(profile.period, String(model.periodNano));
        assert.equal(request.dictionary.stringTable[profile.sampleType.typeStrindex], 'samples');
      }
    }),
    { numRuns: 200 },
  );
});

function isKnown(line: ModelFrame['lines'][number]): boolean {
  return line.name !== '' || line.systemName !== '' || line.file !== '';
}

test('the dictionary has a zero element first, no duplicates and no orphans', () => {
  fc.assert(
    fc.property(arbitraryModel, (model) => {
      const { dictionary, resourceProfiles } = decode(encodeOtlp(buildProfile(model)));
      assert.equal(dictionary.stringTable[0], '');
      assert.deepEqual([...dictionary.linkTable[0].traceId, ...dictionary.linkTable[0].spanId], Array(24).fill(0));
      for (const [name, type] of [
        ['mappingTable', 'Mapping'],
        ['locationTable', 'Location'],
        ['functionTable', 'Function'],
        ['attributeTable', 'KeyValueAndUnit'],
        ['stackTable', 'Stack'],
      ]) {
        const zero = Request.root.lookupType(`opentelemetry.proto.profiles.v1development.${type}`);
        assert.deepEqual(dictionary[name][0], plain(zero.create(), zero), name);
        const rows = dictionary[name].map((row: unknown) => JSON.stringify(row));
        assert.equal(new Set(rows).size, rows.length, `${name} has duplicates`);
      }
      assert.equal(new Set(dictionary.stringTable).size, dictionary.stringTable.length);

      const used = { strings: new Set([0]), functions: new Set([0]), mappings: new Set([0]), locations: new Set([0]) };
      const stacks = new Set([0]);
      const attributes = new Set([0]);
      for (const { scopeProfiles } of resourceProfiles) {
        for (const profile of scopeProfiles[0].profiles) {
          for (const type of [profile.sampleType, profile.periodType]) {
            if (!type) continue;
            used.strings.add(type.typeStrindex).add(type.unitStrindex);
          }
          for (const sample of profile.samples) {
            stacks.add(sample.stackIndex);
            for (const i of sample.attributeIndices) attributes.add(i);
          }
        }
      }
      for (const row of dictionary.stackTable) for (const i of row.locationIndices) used.locations.add(i);
      for (const row of dictionary.locationTable) {
        used.mappings.add(row.mappingIndex);
        for (const l of row.lines) used.functions.add(l.functionIndex);
        for (const i of row.attributeIndices) attributes.add(i);
      }
      for (const row of dictionary.mappingTable) {
        used.strings.add(row.filenameStrindex);
        for (const i of row.attributeIndices) attributes.add(i);
      }
      for (const row of dictionary.functionTable) {
        used.strings.add(row.nameStrindex).add(row.systemNameStrindex).add(row.filenameStrindex);
      }
      for (const row of dictionary.attributeTable) used.strings.add(row.keyStrindex);
      assert.equal(stacks.size, dictionary.stackTable.length);
      assert.equal(attributes.size, dictionary.attributeTable.length);
      assert.equal(used.locations.size, dictionary.locationTable.length);
      assert.equal(used.mappings.size, dictionary.mappingTable.length);
      assert.equal(used.functions.size, dictionary.functionTable.length);
      if (resourceProfiles.length > 0) assert.equal(used.strings.size, dictionary.stringTable.length);
    }),
    { numRuns: 100 },
  );
});

test('all samples of a profile weigh in the same way', () => {
  fc.assert(
    fc.property(arbitraryModel, (model) => {
      const request = decode(encodeOtlp(buildProfile(model)));
      const shapes = new Set<string>();
      for (const { scopeProfiles } of request.resourceProfiles) {
        for (const { values, timestampsUnixNano } of scopeProfiles[0].profiles[0].samples) {
          if (values.length > 0 && timestampsUnixNano.length > 0)
            assert.equal(values.length, timestampsUnixNano.length);
          shapes.add(`${values.length > 0} ${timestampsUnixNano.length > 0}`);
        }
      }
      assert.ok(shapes.size <= 1, [...shapes].join(' and '));
    }),
    { numRuns: 100 },
  );
});

test('any part of the samples makes a request of its own', () => {
  fc.assert(
    fc.property(arbitraryModel, fc.nat(), (model, cut) => {
      const profile = buildProfile(model);
      const groups = groupByResource(profile);
      const first = groups.map(({ resource, samples }) => ({ resource, samples: samples.slice(0, cut % 5) }));
      const rest = groups.map(({ resource, samples }) => ({ resource, samples: samples.slice(cut % 5) }));
      const whole = readSamples(decode(encodeOtlp(profile)));
      const parts = [first, rest].flatMap((part) => readSamples(decode(encodeOtlp(profile, {}, part))));
      assert.deepEqual(summarize(parts), summarize(whole));
    }),
    { numRuns: 100 },
  );
});

test('OTLP/JSON says the same as the binary form', () => {
  fc.assert(
    fc.property(arbitraryModel, (model) => {
      const profile = buildProfile(model);
      const json = JSON.parse(encodeOtlpJson(profile));
      for (const link of json.dictionary.linkTable) {
        link.traceId = Buffer.from(link.traceId, 'hex');
        link.spanId = Buffer.from(link.spanId, 'hex');
      }
      const fromJson = Request.encode(Request.fromObject(json)).finish();
      assert.deepEqual(decode(fromJson), decode(encodeOtlp(profile)));
    }),
    { numRuns: 200 },
  );
});

test('the vendored definitions are of the version that the encoder names', async () => {
  const fields = (name: string) =>
    Object.fromEntries(
      Object.values(Request.root.lookupType(`opentelemetry.proto.profiles.v1development.${name}`).fields).map((f) => [
        f.name,
        f.id,
      ]),
    );
  assert.equal(OTLP_PROTO_VERSION, '1.11.0');
  // The numbers that version 1.10 changed.
  assert.deepEqual(fields('Sample'), {
    stackIndex: 1,
    attributeIndices: 2,
    linkIndex: 3,
    values: 4,
    timestampsUnixNano: 5,
  });
});

test('a truncated stack carries its reason at its root and in its attributes', () => {
  const profile = new Profile({ startUnixNano: 1n });
  const leaf = profile.internFrame(
    'native',
    profile.mappings.intern({
      filename: '/bin/x',
      buildId: 'ab',
      buildIdKind: 'gnu',
      memoryStart: 0n,
      memoryLimit: 0n,
      fileOffset: 0n,
    }),
    0x1234,
    [{ name: 'leaf' }],
  );
  const stack = profile.stacks.internLeafFirst([leaf, profile.internTruncatedRoot('no_unwind_info')]);
  const sample: SampleHandle = profile.addSample(profile.attributes.internSet({ 'process.pid': 7 }), stack, {
    'plumbline.stack.outcome': 'truncated',
    'plumbline.stack.truncation.reason': 'no_unwind_info',
  });
  assert.equal(sample, 0);
  const [read] = readSamples(decode(encodeOtlp(profile)));
  assert.deepEqual(
    read.stack.map((f) => f.lines[0].name),
    ['leaf', '[truncated: no_unwind_info]'],
  );
  assert.equal(read.stack[1].kind, 'synthetic');
  assert.equal(read.attributes['plumbline.stack.truncation.reason'], 'no_unwind_info');
  assert.deepEqual(read.resource, { 'process.pid': 7 });
});
