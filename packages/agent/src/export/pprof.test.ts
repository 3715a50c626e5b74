// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import fc from 'fast-check';
import protobuf from 'protobufjs';
import { Profile } from '../profile/profile.ts';
import { encodePprof, encodePprofMessage } from './pprof.ts';
import { arbitraryModel, buildProfile, type ModelSample, summarize } from './sample-model.ts';

const root = await protobuf.load(fileURLToPath(new URL('./proto/pprof/profile.proto', import.meta.url)));
const PprofProfile = root.lookupType('perftools.profiles.Profile');

// biome-ignore lint/suspicious/noExplicitAny: a decoded message, whose shape is what is tested
type Message = any;

function decode(bytes: Uint8Array): Message {
  return PprofProfile.toObject(PprofProfile.decode(bytes), { longs: String, defaults: true, arrays: true });
}

/** Samples as plain values; resource and sample attributes are both labels. */
function readSamples(profile: Message): ModelSample[] {
  const text = (i: string): string => profile.stringTable[Number(i)];
  const byId = (rows: Message[]) => new Map(rows.map((row) => [row.id, row]));
  const [locations, functions, mappings] = [byId(profile.location), byId(profile.function), byId(profile.mapping)];
  return profile.sample.map((sample: Message) => ({
    resource: {},
    stack: sample.locationId.map((id: string) => {
      const location = locations.get(id);
      const mapping = mappings.get(location.mappingId);
      return {
        file: text(mapping.filename),
        buildId: text(mapping.buildId),
        address: BigInt(location.address),
        lines: location.line.map((l: Message) => {
          const fn = functions.get(l.functionId);
          return {
            name: text(fn.name),
            systemName: text(fn.systemName),
            file: text(fn.filename),
            line: Number(l.line),
          };
        }),
      };
    }),
    attributes: Object.fromEntries(
      sample.label.map((l: Message) => [text(l.key), l.str !== '0' ? text(l.str) : Number(l.num)]),
    ),
    value: Number(sample.value[0]),
    time: undefined,
  }));
}

test('every sample can be read back with the published definition', () => {
  fc.assert(
    fc.property(arbitraryModel, (model) => {
      const profile = decode(encodePprofMessage(buildProfile(model)));
      const normal = (samples: ModelSample[]) =>
        summarize(
          samples.map((s) => ({
            ...s,
            time: undefined,
            stack: s.stack.map(({ file, buildId, address, lines }) => ({
              file,
              buildId,
              address,
              lines: lines.filter((l) => l.name || l.systemName || l.file),
            })) as ModelSample['stack'],
          })),
        );
      const names: Record<string, string> = { 'process.pid': 'pid', 'thread.id': 'tid' };
      const label = (v: unknown) => (typeof v === 'boolean' ? String(v) : v === '' ? 0 : v);
      const expected = model.samples.map((s) => ({
        ...s,
        resource: {},
        attributes: Object.fromEntries(
          Object.entries({ ...s.resource, ...s.attributes }).map(([k, v]) => [names[k] ?? k, label(v)]),
        ) as ModelSample['attributes'],
      }));
      assert.deepEqual(normal(readSamples(profile)), normal(expected));
      assert.equal(profile.timeNanos, String(model.startUnixNano));
      assert.equal(profile.stringTable[0], '');
      if (model.periodNano > 0) {
        for (const { value } of profile.sample)
          assert.equal(BigInt(value[1]), BigInt(value[0]) * BigInt(model.periodNano));
      }
    }),
    { numRuns: 200 },
  );
});

/** A profile with everything in it: inlined frames, a kernel address, a frame without symbols, a truncated stack. */
function exampleProfile(): Profile {
  const profile = new Profile({ startUnixNano: 1_700_000_000_000_000_000n, periodNano: 10_101_010 });
  profile.durationNano = 10_000_000_000n;
  const program = profile.mappings.intern({
    filename: '/usr/bin/program',
    buildId: 'abcd',
    buildIdKind: 'gnu',
    memoryStart: 0x1000n,
    memoryLimit: 0x9000n,
    fileOffset: 0x1000n,
  });
  const kernel = profile.mappings.intern({
    filename: '[kernel.kallsyms]',
    buildId: '',
    buildIdKind: 'gnu',
    memoryStart: 0xffff_ffff_8000_0000n,
    memoryLimit: 0xffff_ffff_ffff_f000n,
    fileOffset: 0n,
  });
  const start = profile.internFrame('native', program, 0x1100, [{ name: '_start' }]);
  const main = profile.internFrame('native', program, 0x2000, [
    { name: 'ns::inlined()', systemName: '_ZN2ns7inlinedEv', file: 'a.cc', line: 7 },
    { name: 'main', file: 'a.cc', line: 30 },
  ]);
  const unknown = profile.internFrame('native', program, 0x3000, []);
  const syscall = profile.internFrame('kernel', kernel, 0xffff_ffff_8123_4567n, [{ name: 'do_syscall_64' }]);
  const resource = profile.attributes.internSet({ 'process.pid': 42, 'process.executable.path': '/usr/bin/program' });
  profile.addSample(resource, profile.stacks.internLeafFirst([syscall, main, start]), { 'thread.id': 43 }, 3);
  profile.addSample(
    resource,
    profile.stacks.internLeafFirst([unknown, profile.internTruncatedRoot('no_unwind_info')]),
    { 'plumbline.stack.outcome': 'truncated' },
    2,
  );
  profile.countOutcome('complete', 'root_undefined_ra', 3);
  profile.countOutcome('truncated', 'no_unwind_info', 2);
  return profile;
}

test('the file is compressed, and its comments count the outcomes', async () => {
  const bytes = await encodePprof(exampleProfile());
  const profile = decode(gunzipSync(bytes));
  assert.deepEqual(
    profile.comment.map((i: string) => profile.stringTable[Number(i)]),
    ['3 samples complete: root_undefined_ra', '2 samples truncated: no_unwind_info'],
  );
});

const hasGo = spawnSync('go', ['version']).status === 0;
if (!hasGo && process.env.CI === 'true') throw new Error('CI needs Go for `go tool pprof`');

test('go tool pprof reads it', { skip: hasGo ? false : 'no Go on this machine' }, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'plumbline-pprof-'));
  try {
    const file = join(folder, 'cpu.pb.gz');
    writeFileSync(file, await encodePprof(exampleProfile()));
    const pprof = (...flags: string[]) => {
      const { stdout, stderr, status } = spawnSync('go', ['tool', 'pprof', '-symbolize=none', ...flags, file], {
        encoding: 'utf8',
        env: { ...process.env, PPROF_TMPDIR: folder, PPROF_BINARY_PATH: folder },
      });
      assert.equal(status, 0, stderr);
      return stdout;
    };
    const raw = pprof('-raw');
    assert.match(raw, /PeriodType: cpu nanoseconds\nPeriod: 10101010/);
    assert.match(
      raw,
      /Samples:\nsamples\/count cpu\/nanoseconds\[dflt\]\n +3 +30303030: [0-9 ]+\n +process\.executable\.path:\[\/usr\/bin\/program\]\n +pid:\[42\] tid:\[43\]/,
    );
    assert.match(raw, /0x2000 M=1 ns::inlined\(\) a\.cc:7:0 s=0\(_ZN2ns7inlinedEv\)\n +main a\.cc:30/);
    assert.match(raw, /0xffffffff81234567 M=2 do_syscall_64/);
    assert.match(raw, /1: 0x1000\/0x9000\/0x1000 \/usr\/bin\/program abcd \[FL\]\[LN\]\[IN\]/);
    const traces = pprof('-traces', '-sample_index=samples');
    assert.match(traces, / 3 +do_syscall_64\n +ns::inlined\(\) \(inline\)\n +main\n +_start\n/);
    assert.match(traces, / 2 +\[program\]\n +\[truncated: no_unwind_info\]\n/);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
