// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ManualClock } from '../clock.ts';
import { encodeFolded } from '../export/folded.ts';
import { encodeOtlpJson } from '../export/otlp-json.ts';
import { arbitraryModel, buildProfile } from '../export/sample-model.ts';
import { ATTRIBUTE } from '../profile/attribute-names.ts';
import { Profile } from '../profile/profile.ts';
import { mergeProfile } from './merge-profile.ts';
import { RecentProfiles } from './recent-profiles.ts';

const empty = () => new Profile({ startUnixNano: 0n });

/** Folded stacks as a map, so that sums can be compared. */
function folded(profile: Profile): Map<string, number> {
  const counts = new Map<string, number>();
  for (const line of encodeFolded(profile).split('\n').filter(Boolean)) {
    const blank = line.lastIndexOf(' ');
    counts.set(line.slice(0, blank), Number(line.slice(blank + 1)));
  }
  return counts;
}

function sum(...all: Map<string, number>[]): Map<string, number> {
  const total = new Map<string, number>();
  for (const counts of all) for (const [stack, count] of counts) total.set(stack, (total.get(stack) ?? 0) + count);
  return new Map([...total].sort());
}

/** A profile of one process: stacks as text, root first. */
function profileOf(pid: number, stacks: Record<string, number>, startMs = 0, container?: string): Profile {
  const profile = new Profile({ startUnixNano: BigInt(startMs) * 1_000_000n, periodNano: 10_000_000 });
  profile.durationNano = 10_000_000_000n;
  const resource = profile.attributes.internSet({ [ATTRIBUTE.processPid]: pid, [ATTRIBUTE.containerId]: container });
  for (const [text, count] of Object.entries(stacks)) {
    const frames = text.split(';').map((name) => profile.internSyntheticFrame(name));
    profile.addSample(resource, profile.stacks.internLeafFirst(frames.reverse()), { [ATTRIBUTE.threadId]: pid }, count);
    profile.countOutcome('complete', 'root_zero_ra', count);
  }
  return profile;
}

test('a merged profile has the samples of both, for any profiles', () => {
  fc.assert(
    fc.property(arbitraryModel, arbitraryModel, (one, other) => {
      const into = empty();
      const a = buildProfile(one);
      const b = buildProfile(other);
      assert.equal(mergeProfile(a, into), 0);
      assert.equal(mergeProfile(b, into), 0);
      assert.deepEqual(folded(into), sum(folded(a), folded(b)));
    }),
    { numRuns: 100 },
  );
});

test('a copy of a profile is the same to a receiver', () => {
  fc.assert(
    fc.property(arbitraryModel, (model) => {
      for (const sample of model.samples) sample.time = undefined; // single times are not kept
      const from = buildProfile(model);
      const copy = new Profile({ startUnixNano: from.startUnixNano, periodNano: from.periodNano });
      copy.durationNano = from.durationNano;
      mergeProfile(from, copy);
      assert.deepEqual(JSON.parse(encodeOtlpJson(copy)), JSON.parse(encodeOtlpJson(from)));
    }),
    { numRuns: 50 },
  );
});

test('outcomes add up', () => {
  const into = profileOf(1, { 'main;a': 2 });
  mergeProfile(profileOf(1, { 'main;a': 3 }), into);
  assert.deepEqual(into.outcomes, [{ outcome: 'complete', reason: 'root_zero_ra', count: 5 }]);
});

test('at the limit of stacks known ones are still counted, new ones are left out and counted as such', () => {
  const into = profileOf(1, { 'main;a;b': 1 });
  const leftOut = mergeProfile(profileOf(2, { 'main;a;b': 3, 'main;a': 4, 'main;c': 5, other: 6 }), into, {
    maxStacks: into.stacks.count,
  });
  assert.equal(leftOut, 11);
  assert.deepEqual(
    folded(into),
    new Map([
      ['main;a', 4],
      ['main;a;b', 4],
    ]),
  );
});

test('resources can be chosen', () => {
  const into = empty();
  mergeProfile(profileOf(7, { main: 1 }), into, { select: (resource) => resource.get(ATTRIBUTE.processPid) === 8 });
  assert.equal(folded(into).size, 0);
});

test('recent profiles: what is older than the window is forgotten, what is asked for is joined', async () => {
  const clock = new ManualClock(1_000_000);
  const recent = new RecentProfiles({ windowMs: 60_000, clock });
  for (let i = 0; i < 12; i++) {
    recent.add(profileOf(i % 2, { [`main;f${i}`]: 1, main: 1 }, clock.wallMs()));
    await clock.advance(10_000);
  }
  const all = folded(recent.since({ sinceMs: 60_000 }));
  assert.deepEqual([...all.keys()].filter((stack) => stack !== 'main').sort(), [
    'main;f10',
    'main;f11',
    'main;f6',
    'main;f7',
    'main;f8',
    'main;f9',
  ]);
  assert.equal(all.get('main'), 6);
  assert.equal(recent.since({ sinceMs: 60_000 }).durationNano, 60_000_000_000n);
  assert.equal(recent.since({ sinceMs: 60_000 }).periodNano, 10_000_000);
  assert.deepEqual([...folded(recent.since({ sinceMs: 20_000 })).keys()], ['main', 'main;f10', 'main;f11']);
  const select = (resource: ReadonlyMap<string, unknown>) => resource.get(ATTRIBUTE.processPid) === 1;
  assert.equal(folded(recent.since({ sinceMs: 60_000, select })).get('main'), 3);
  await clock.advance(120_000);
  assert.equal(folded(recent.since({ sinceMs: 60_000 })).size, 0);
});

test('recent profiles: memory is bounded, whatever comes', async () => {
  const clock = new ManualClock(0);
  const recent = new RecentProfiles({ windowMs: 10_000, maxStacks: 1000, clock });
  for (let i = 0; i < 50; i++) {
    recent.add(
      profileOf(1, Object.fromEntries(Array.from({ length: 20 }, (_, k) => [`main;${i};${k}`, 1])), clock.wallMs()),
    );
  }
  const { stacks } = recent.since({ sinceMs: 10_000 });
  assert.ok(stacks.count <= 101, `${stacks.count}`);
  assert.ok(recent.leftOut > 0);
  assert.equal(
    [...folded(recent.since({ sinceMs: 10_000 })).values()].reduce((a, b) => a + b, 0) + recent.leftOut,
    1000,
  );
});
