// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatElapsed, parseChoiceFlag, parseDurationFlag, parseIntegerFlag } from './flag-values.ts';

test('durations', () => {
  const valid: [string, number][] = [
    ['500ms', 500],
    ['10s', 10_000],
    ['1.5m', 90_000],
    ['1h30m', 5_400_000],
    ['168h', 604_800_000],
  ];
  for (const [text, ms] of valid) assert.equal(parseDurationFlag('--duration', text), ms, text);
  for (const text of ['', '10', 's', '-5s', '10 s', '10x', '1.2.3s', '0s', '0.1ms', '169h', 'Infinity', '1e3s']) {
    assert.throws(() => parseDurationFlag('--duration', text), { code: 'usage' }, text);
  }
  assert.throws(() => parseDurationFlag('--duration', '10'), { remedy: 'write --duration 10s for seconds' });
});

test('integers within their limits', () => {
  assert.equal(parseIntegerFlag('--n', '99', 1, 100), 99);
  for (const text of ['0', '101', '1.5', '', ' 5', '0x10', '-1', '9'.repeat(400)]) {
    assert.throws(() => parseIntegerFlag('--n', text, 1, 100), /number from 1 to 100/, text);
  }
});

test('choices in any case, with a suggestion', () => {
  const choices = ['auto', 'tailCall', 'loop'] as const;
  assert.equal(parseChoiceFlag('--strategy', 'tailcall', choices), 'tailCall');
  assert.throws(() => parseChoiceFlag('--strategy', 'lopp', choices), {
    message: '--strategy "lopp" is not known (did you mean loop?)',
    remedy: 'it may be auto, tailCall or loop',
  });
});

test('elapsed times for people', () => {
  const cases: [number, string][] = [
    [0, '0ms'],
    [340, '340ms'],
    [8200, '8.2s'],
    [10_000, '10s'],
    [59_990, '1m00s'],
    [65_000, '1m05s'],
    [3_599_900, '1h00m'],
    [7_500_000, '2h05m'],
  ];
  for (const [ms, text] of cases) assert.equal(formatElapsed(ms), text);
});
