// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { configHash } from './config-hash.ts';
import { InvalidConfigError, parseNodeProfilingFile, parseNodeProfilingSpec } from './parse.ts';

const problems = (document: unknown): readonly string[] => {
  try {
    parseNodeProfilingFile(document);
  } catch (error) {
    assert.ok(error instanceof InvalidConfigError, String(error));
    return error.problems;
  }
  return [];
};

test('a file with nothing but an endpoint profiles the whole node at 19 Hz', () => {
  const spec = parseNodeProfilingFile({ exports: [{ otlp: { endpoint: 'collector:4317' } }] });
  assert.equal(spec.sampling.frequencyHz, 19);
  assert.equal(spec.rules.length, 1);
  const [rule] = spec.rules;
  assert.deepEqual(
    [rule.allNamespaces, rule.hostProcesses, rule.frequencyHz, rule.exports],
    [true, true, 19, undefined],
  );
  assert.deepEqual(rule.unwinding, { maxFrames: 1024, spill: 'Auto' });
  assert.equal(spec.exports[0].otlp?.protocol, 'grpc');
  assert.equal(spec.configHash, configHash(spec));
});

test('an empty file is a valid configuration', () => {
  assert.equal(parseNodeProfilingFile(null).rules.length, 1);
  assert.deepEqual(parseNodeProfilingFile({}).exports, []);
});

test('rules inherit the node’s settings and raise its limits', () => {
  const spec = parseNodeProfilingFile({
    sampling: { frequencyHz: 49 },
    rules: [
      { policy: { name: 'a' }, hostProcesses: true },
      { policy: { name: 'b' }, allNamespaces: true, frequencyHz: 99, unwinding: { maxFrames: 4096 } },
    ],
  });
  assert.deepEqual(
    spec.rules.map((rule) => rule.frequencyHz),
    [49, 99],
  );
  assert.deepEqual(
    spec.rules.map((rule) => rule.unwinding.maxFrames),
    [1024, 4096],
  );
  assert.deepEqual([spec.sampling.frequencyHz, spec.unwinding.maxFrames], [99, 4096]);
});

test('the whole object may stand in the file', () => {
  const object = {
    apiVersion: 'profiling.plumbline.dev/v1alpha1',
    kind: 'NodeProfilingConfig',
    metadata: { name: 'x' },
    spec: { sampling: { frequencyHz: 7 } },
  };
  assert.equal(parseNodeProfilingFile(object).sampling.frequencyHz, 7);
  assert.match(problems({ ...object, kind: 'Pod' })[0], /^kind: must be NodeProfilingConfig/);
  assert.match(problems({ ...object, apiVersion: 'v1' })[0], /^apiVersion: must be profiling/);
});

test('problems name the field', () => {
  assert.deepEqual(problems({ samplin: {}, sampling: { hz: 1 } }), [
    'spec.samplin: unknown field',
    'spec.sampling.hz: unknown field',
  ]);
  assert.match(problems({ sampling: { frequencyHz: 1000 } })[0], /^spec\.sampling\.frequencyHz: .*997/);
  assert.match(
    problems({ exports: [{ otlp: { endpoint: 'http://user:pw@x' } }] })[0],
    /^spec\.exports\[0\]\.otlp\.endpoint: .*credentials/,
  );
  assert.match(problems({ exports: [{}] })[0], /^spec\.exports\[0\]: an export is exactly one/);
  assert.match(
    problems({ exports: [{ pprof: { directory: '/a' } }, { pprof: { directory: '/b' } }] })[0],
    /different names/,
  );
  assert.match(problems({ rules: [{ policy: { name: 'a' }, exports: ['nowhere'] }] })[0], /must be in spec\.exports/);
  assert.match(problems([])[0], /is a mapping/);
  assert.match(problems('x')[0], /is a mapping/);
});

test('fields of a newer schema are tolerated from the cluster', () => {
  assert.equal('later' in parseNodeProfilingSpec({ later: 1, rules: [] }), false);
});

test('any document is accepted or refused with problems, never another error', () => {
  fc.assert(
    fc.property(
      fc.jsonValue(),
      fc.constantFrom('rules', 'exports', 'sampling', 'unwinding', 'spec', 'budget'),
      (value, field) => {
        problems(value);
        problems({ [field]: value });
        problems({ rules: [{ policy: { name: 'a' }, podSelector: value, unwinding: value, objective: value }] });
      },
    ),
  );
});
