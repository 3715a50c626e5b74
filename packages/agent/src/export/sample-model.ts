// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check';
import { FRAME_KINDS, type FrameKind } from '../profile/frame-table.ts';
import { type FrameLine, Profile } from '../profile/profile.ts';

/** For tests: a profile as plain, uninterned samples, the truth that each encoding is compared with. */
export interface ModelFrame {
  kind: FrameKind;
  file: string;
  buildId: string;
  address: bigint;
  lines: Required<FrameLine>[];
}

export interface ModelSample {
  resource: Record<string, string | number>;
  /** Innermost first. */
  stack: ModelFrame[];
  attributes: Record<string, string | number | boolean>;
  value: number;
  time: bigint | undefined;
}

export interface ProfileModel {
  startUnixNano: bigint;
  durationNano: bigint;
  periodNano: number;
  samples: ModelSample[];
}

/** A model as a Profile. */
export function buildProfile(model: ProfileModel): Profile {
  const profile = new Profile({ startUnixNano: model.startUnixNano, periodNano: model.periodNano });
  profile.durationNano = model.durationNano;
  for (const sample of model.samples) {
    const frames = sample.stack.map((frame) => {
      const mapping = profile.mappings.intern({
        filename: frame.file,
        buildId: frame.buildId,
        buildIdKind: frame.kind === 'go' ? 'go' : 'gnu',
        memoryStart: 0x1000n,
        memoryLimit: 0xffff_ffff_ffff_f000n,
        fileOffset: 0x1000n,
      });
      return profile.internFrame(frame.kind, mapping, frame.address, frame.lines);
    });
    const resource = profile.attributes.internSet(sample.resource);
    profile.addSample(resource, profile.stacks.internLeafFirst(frames), sample.attributes, sample.value, sample.time);
  }
  return profile;
}

/** Samples that are equal but for their value and time, joined; as sorted text, so that two lists can be compared. */
export function summarize(samples: ModelSample[]): string[] {
  const totals = new Map<string, { value: number; times: bigint[] }>();
  for (const { resource, stack, attributes, value, time } of samples) {
    const key = JSON.stringify([sorted(resource), stack, sorted(attributes)], (_, v) =>
      typeof v === 'bigint' ? v.toString() : v,
    );
    const total = totals.get(key) ?? { value: 0, times: [] };
    total.value += value;
    if (time !== undefined) total.times.push(time);
    totals.set(key, total);
  }
  return [...totals].map(([key, { value, times }]) => `${key} ${value} ${times.sort().join()}`).sort();
}

function sorted(record: Record<string, unknown>): [string, unknown][] {
  return Object.entries(record).sort(([a], [b]) => (a < b ? -1 : 1));
}

const text = fc.oneof(
  fc.constantFrom('main', 'operator()', 'naïve::größe<int>', '漢字', '🐢', ''),
  fc.string({ unit: 'grapheme', maxLength: 12 }),
);

const line: fc.Arbitrary<Required<FrameLine>> = fc.record({
  name: text,
  systemName: text,
  file: text,
  line: fc.oneof(fc.constantFrom(0, 1, 127, 128, 16383, 16384, 0xffff_ffff), fc.nat()),
});

const frame: fc.Arbitrary<ModelFrame> = fc.record({
  kind: fc.constantFrom(...FRAME_KINDS),
  file: fc.constantFrom('/usr/bin/x', '/lib/libc.so.6', '[vdso]'),
  buildId: fc.constantFrom('', '00ff', 'abcdef0123456789'),
  address: fc.oneof(
    fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
    fc.constantFrom(0n, 0xffff_ffff_8100_0000n, 1n << 53n),
  ),
  lines: fc.array(line, { maxLength: 3 }),
});

const attributes = (values: fc.Arbitrary<string | number | boolean>) =>
  fc.dictionary(fc.constantFrom('process.pid', 'thread.id', 'a', 'b', 'plumbline.stack.outcome'), values, {
    maxKeys: 3,
  });

/** Arbitrary profiles; stacks share frames and samples repeat. */
export const arbitraryModel: fc.Arbitrary<ProfileModel> = fc
  .record({
    frames: fc.array(frame, { minLength: 1, maxLength: 8 }),
    resources: fc.array(attributes(fc.oneof(text, fc.maxSafeInteger())), { minLength: 1, maxLength: 3 }),
    sets: fc.array(attributes(fc.oneof(text, fc.maxSafeInteger(), fc.boolean())), { minLength: 1, maxLength: 3 }),
    timed: fc.constantFrom('never', 'ones', 'any'),
    picks: fc.array(
      fc.record({
        stack: fc.array(fc.nat(), { maxLength: 12 }),
        resource: fc.nat(),
        set: fc.nat(),
        value: fc.nat(),
        time: fc.nat(),
      }),
      { maxLength: 20 },
    ),
    startUnixNano: fc.bigInt({ min: 0n, max: (1n << 63n) - 1n }),
    durationNano: fc.bigInt({ min: 0n, max: (1n << 63n) - 1n }),
    periodNano: fc.constantFrom(0, 10_101_010, 52_631_578),
  })
  .map(({ frames, resources, sets, timed, picks, ...rest }) => ({
    ...rest,
    samples: picks.map((pick) => ({
      stack: pick.stack.map((i) => frames[i % frames.length]),
      resource: resources[pick.resource % resources.length] as ModelSample['resource'],
      attributes: sets[pick.set % sets.length],
      value: timed === 'ones' ? 1 : (pick.value % 1000) + 1,
      time: timed === 'never' ? undefined : BigInt(pick.time) + 1n,
    })),
  }));
