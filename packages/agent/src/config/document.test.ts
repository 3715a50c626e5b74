// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { AgentError } from '../errors.ts';
import { AgentSettings, parseListen, parseSize, resolveSettings } from './agent-settings.ts';
import { MAX_CONFIG_BYTES, parseConfigDocument } from './document.ts';
import { configurationHelp, configurationReference, EXAMPLE_CONFIG, MINIMAL_CONFIG } from './reference.ts';

test('an endpoint alone profiles the whole node at 19 Hz', () => {
  const { spec, settings } = parseConfigDocument(MINIMAL_CONFIG, 'node.yaml');
  assert.equal(spec.sampling.frequencyHz, 19);
  assert.equal(spec.exports[0].otlp?.endpoint, 'localhost:4317');
  assert.equal(spec.rules.length, 1);
  assert.equal(spec.rules[0].allNamespaces, true);
  assert.equal(spec.rules[0].hostProcesses, true);
  assert.match(spec.configHash, /^[0-9a-f]{16}$/);
  assert.deepEqual(resolveSettings(settings), {
    listen: { host: '127.0.0.1', port: 7117 },
    logLevel: 'info',
    stateDirectory: '/var/lib/plumbline',
    spoolDirectory: '/var/lib/plumbline/spool',
    spoolMaxBytes: 256 * 2 ** 20,
    recentProfilesMs: 300_000,
    profileSelf: false,
    maxWorkloadSeries: 4000,
  });
});

test('the example of the documentation is valid, and the help shows every field', () => {
  const { spec } = parseConfigDocument(EXAMPLE_CONFIG, 'node.yaml');
  assert.equal(spec.rules.length, 2);
  for (const path of ['exports[].otlp.endpoint', 'rules[].podSelector', 'agent.spool.maxSize']) {
    assert.ok(configurationHelp().includes(`  ${path}`), path);
    assert.ok(configurationReference().includes(`| \`${path}\` |`), path);
  }
});

test('an empty file, JSON, the spec alone and the whole object are all read', () => {
  const hash = (text: string) => parseConfigDocument(text, 'c').spec.configHash;
  assert.equal(hash(''), hash('{}'));
  const spec = 'sampling: { frequencyHz: 49 }';
  const whole = `apiVersion: profiling.plumbline.dev/v1alpha1\nkind: NodeProfilingConfig\nspec:\n  ${spec}\nagent: { listen: off }`;
  assert.equal(hash(whole), hash('{"sampling":{"frequencyHz":49}}'));
  assert.equal(parseConfigDocument(whole, 'c').settings.listen, 'off');
});

const mistakes: [string, string, RegExp | string][] = [
  ['a limit', 'sampling:\n  frequencyHz: 5000', 'n.yaml:2: sampling.frequencyHz: must be at most 997'],
  [
    'a choice',
    'unwinding: { strategy: Loops }',
    'n.yaml:1: unwinding.strategy: must be one of "Auto", "TailCall", "Loop", "Deferred"',
  ],
  [
    'a number that is a string',
    'budget: { cpuPercentOfNode: 2 }',
    /budget\.cpuPercentOfNode: must be a string, not a number \(write it in quotes\)/,
  ],
  ['a misspelt field', 'exports: []\nsamplng: {}', 'n.yaml:2: samplng: unknown field (did you mean sampling?)'],
  [
    'a misspelt field of the whole object',
    'spec:\n  rules: []\n  exprts: []',
    'n.yaml:3: spec.exprts: unknown field (did you mean exports?)',
  ],
  ['an export that is not a list', 'otlp: { endpoint: "a:1" }', /exports are a list/],
  ['a misspelt setting', 'agent:\n  logLevl: info', 'n.yaml:2: agent.logLevl: unknown field (did you mean logLevel?)'],
  [
    'a misspelt setting inside',
    'agent: { spool: { size: 1Gi } }',
    /agent\.spool\.size: unknown field; fields here are directory, maxSize/,
  ],
  ['a wrong setting', 'agent: { listen: 7117 }', /agent\.listen: must be a string, not a number/],
  ['a bad address', 'agent: { listen: "host:99999" }', /agent\.listen: has a port above 65535/],
  ['a required field', 'exports:\n- otlp: {}', 'n.yaml:2: exports[0].otlp.endpoint: is missing'],
  ['an unknown export', 'rules: [{policy: {name: a}, exports: [b]}]', /every export that a rule names/],
  ['a YAML error', 'exports: [\n  {', /^n\.yaml:\d+: /],
  ['a duplicate key', 'rules: []\nrules: []', /n\.yaml:2: .*unique/],
  ['another kind', 'kind: Pod', /kind: must be NodeProfilingConfig/],
  ['a list', '- a', /is not a mapping/],
  [
    'aliases without end',
    `a: &a [x]\n${'bcdefghij'
      .split('')
      .map((k, i) => `${k}: &${k} [${`*${'abcdefghij'[i]},`.repeat(9)}]`)
      .join('\n')}`,
    /alias/i,
  ],
  ['a file that is too large', `#${'x'.repeat(MAX_CONFIG_BYTES)}`, /larger than/],
];
for (const [name, text, expected] of mistakes) {
  test(`mistake: ${name}`, () => {
    assert.throws(
      () => parseConfigDocument(text, 'n.yaml'),
      (error) => {
        assert.ok(error instanceof AgentError);
        assert.equal(error.code, 'config_invalid');
        if (typeof expected === 'string') assert.equal(error.message, expected);
        else assert.match(error.message, expected);
        return true;
      },
    );
  });
}

test('many mistakes are named up to a limit', () => {
  const text = `agent:\n${Array.from({ length: 9 }, (_, i) => `  wrong${i}: 1\n`).join('')}`;
  assert.throws(() => parseConfigDocument(text, 'n'), /wrong4.*and 4 more$/);
});

test('any text is a configuration or an AgentError', () => {
  const piece = fc.oneof(
    fc.string({ maxLength: 10 }),
    fc.constantFrom(
      'exports:',
      '\n',
      '  ',
      '- ',
      '{',
      '}',
      'otlp',
      ': ',
      'agent:',
      'rules: ',
      '[',
      ']',
      '&a',
      '*a',
      '!!',
      '"',
    ),
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 20 }), (pieces) => {
      try {
        parseConfigDocument(pieces.join(''), 'n');
      } catch (error) {
        assert.ok(error instanceof AgentError && error.code === 'config_invalid', String(error));
      }
    }),
    { numRuns: 500 },
  );
});

test('addresses and sizes', () => {
  assert.deepEqual(parseListen('[::1]:80'), { host: '::1', port: 80 });
  assert.deepEqual(parseListen(':7117'), { host: '', port: 7117 });
  assert.equal(parseListen('off'), undefined);
  assert.deepEqual(['1Ki', '64Mi', '2Gi'].map(parseSize), [1024, 67_108_864, 2_147_483_648]);
  assert.equal(AgentSettings.safeParse({ listen: 'a b:1' }).success, false);
});
