// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { NO_ATTRIBUTES } from '../profile/attribute-table.ts';
import { NO_MAPPING } from '../profile/mapping-table.ts';
import { Profile } from '../profile/profile.ts';
import { foldRecursion, unfoldFoldedText, unfoldRecursion } from './fold-recursion.ts';
import { encodeFolded } from './folded.ts';
import { encodeOtlpJson } from './otlp-json.ts';
import { encodePprofMessage } from './pprof.ts';
import { arbitraryModel, buildProfile, type ProfileModel } from './sample-model.ts';

/** Profiles whose stacks hold cycles. */
const recursiveModel: fc.Arbitrary<ProfileModel> = fc
  .tuple(
    arbitraryModel,
    fc.array(fc.tuple(fc.nat(), fc.integer({ min: 1, max: 5 }), fc.integer({ min: 1, max: 20 })), { maxLength: 20 }),
  )
  .map(([model, cycles]) => ({
    ...model,
    samples: model.samples.map((sample, i) => {
      const [at, length, times] = cycles[i] ?? [0, 1, 1];
      const begin = at % (sample.stack.length + 1);
      const cycle = sample.stack.slice(begin, begin + length);
      const repeated = Array.from({ length: times }, () => cycle).flat();
      return {
        ...sample,
        stack: [...sample.stack.slice(0, begin), ...repeated, ...sample.stack.slice(begin + length)],
      };
    }),
  }));

test('unfold(fold(x)) = x: every encoding of it is the same, byte for byte', () => {
  fc.assert(
    fc.property(recursiveModel, (model) => {
      const folded = foldRecursion(buildProfile(model));
      const again = unfoldRecursion(folded);
      const original = buildProfile(model);
      assert.equal(encodeFolded(again), encodeFolded(original));
      assert.equal(encodeOtlpJson(again), encodeOtlpJson(original));
      assert.deepEqual(encodePprofMessage(again), encodePprofMessage(original));
      const total = ({ samples }: Profile) =>
        Array.from({ length: samples.count }, (_, i) => samples.value(i as never)).reduce((sum, n) => sum + n, 0);
      assert.equal(total(folded), total(original));
    }),
    { numRuns: 200 },
  );
});

test('folded text can be unfolded as text', () => {
  fc.assert(
    fc.property(recursiveModel, (model) => {
      const profile = buildProfile(model);
      const folded = encodeFolded(profile, { foldRecursion: true });
      assert.equal(unfoldFoldedText(folded), encodeFolded(profile));
      assert.ok(folded.split('\n').every((line, i, all) => line === '' || all.indexOf(line) === i));
    }),
    { numRuns: 200 },
  );
});

test('a recursion is a few frames, and who reads it sees how deep it was', () => {
  const profile = new Profile({ startUnixNano: 0n, periodNano: 1 });
  const frame = (name: string, address: number) => profile.internFrame('native', NO_MAPPING, address, [{ name }]);
  const deep = Array.from({ length: 1000 }, (_, i) => (i % 2 ? frame('odd', 2) : frame('even', 1)));
  const stack = profile.stacks.internLeafFirst([frame('leaf', 3), ...deep, frame('main', 4)]);
  profile.addSample(NO_ATTRIBUTES, stack, {}, 7);
  profile.countOutcome('complete', 'root_zero_ra', 7);
  const line = 'main;odd;even;[repeated 500 times: 2 frames];leaf 7\n';
  assert.equal(encodeFolded(profile, { foldRecursion: true }), line);
  const folded = foldRecursion(profile);
  assert.equal(encodeFolded(folded), line);
  assert.deepEqual(folded.outcomes, profile.outcomes);
  const bytes = [folded, profile].map((one) => encodePprofMessage(one).length);
  assert.ok(bytes[0] + 900 < bytes[1], `${bytes}`);
});
