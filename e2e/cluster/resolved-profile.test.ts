// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type ProfilesData, resolveProfiles } from './resolved-profile.ts';

const dictionary = {
  stringTable: ['', 'leaf', 'inlined', 'caller', 'a.c', '/bin/a', 'key', 'text'],
  functionTable: [
    {},
    { nameStrindex: 1, filenameStrindex: 4 },
    { nameStrindex: 2, filenameStrindex: 4 },
    { nameStrindex: 3 },
  ],
  mappingTable: [{}, { filenameStrindex: 5, attributeIndices: [1] }],
  locationTable: [
    {},
    {
      mappingIndex: 1,
      address: '18446744073709551615',
      lines: [
        { functionIndex: 2, line: '3' },
        { functionIndex: 1, line: '9' },
      ],
    },
    { lines: [{ functionIndex: 3 }] },
    { mappingIndex: 1, address: '16' },
  ],
  stackTable: [{}, { locationIndices: [1, 2, 3] }],
  attributeTable: [
    {},
    { keyStrindex: 6, value: { stringValueStrindex: 7 } },
    { keyStrindex: 1, value: { arrayValue: { values: [{ boolValue: true }, { intValue: '-4' }] } } },
  ],
};
const withSample = (sample: object, tables: object = {}): ProfilesData => ({
  resourceProfiles: [{ scopeProfiles: [{ profiles: [{ samples: [sample] }] }] }],
  dictionary: { ...dictionary, ...tables },
});

describe('resolveProfiles', () => {
  it('resolves stacks, inlined calls, mappings and attributes', () => {
    const [profile] = resolveProfiles(withSample({ stackIndex: 1, attributeIndices: [1, 2], values: ['3'] }));
    const [sample] = profile.samples;
    assert.deepEqual(sample.attributes, { key: 'text', leaf: [true, -4] });
    assert.deepEqual(
      sample.frames.map((frame) => [frame.function, frame.line, frame.address, frame.mapping]),
      [
        ['inlined', 3, 2n ** 64n - 1n, '/bin/a'],
        ['leaf', 9, 2n ** 64n - 1n, '/bin/a'],
        ['caller', 0, 0n, ''],
        ['', 0, 16n, '/bin/a'],
      ],
    );
    assert.deepEqual(sample.frames[0].mappingAttributes, { key: 'text' });
  });

  it('gives a sample without a stack no frames, and data without profiles no profile', () => {
    assert.deepEqual(
      resolveProfiles(withSample({})).flatMap((profile) => profile.samples[0].frames),
      [],
    );
    assert.deepEqual(resolveProfiles({}), []);
  });

  it('refuses indices that point outside their table', () => {
    assert.throws(() => resolveProfiles(withSample({ stackIndex: 7 })), /stackTable\[7\] does not exist \(2 entries\)/);
    assert.throws(() => resolveProfiles(withSample({ stackIndex: 1 }, { stringTable: [''] })), RangeError);
    assert.throws(() => resolveProfiles(withSample({ attributeIndices: [-1] })), /attributeTable\[-1\]/);
  });
});
