// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { AgentError } from '../errors.ts';
import { editDistance, nearest } from '../nearest-word.ts';
import { readArguments } from './arguments.ts';
import type { Command } from './command.ts';

const command: Command = {
  name: 'try',
  summary: '',
  usage: [],
  flags: [
    { name: 'duration', short: 'd', value: 'TIME', help: '' },
    { name: 'all', short: 'a', help: '' },
  ],
  takesRest: true,
  examples: [],
  run: async () => 0,
};

const read = (...words: string[]) => readArguments(command, words);
const message = (...words: string[]) => {
  try {
    read(...words);
  } catch (error) {
    assert.ok(error instanceof AgentError);
    assert.equal(error.code, 'usage');
    return error.toLine();
  }
  return assert.fail('no error');
};

test('flags long and short, with their values beside or behind, and the words after --', () => {
  const expected = { flags: { duration: '5s', all: true }, positionals: [], rest: ['make', '--all', '-j4'] };
  assert.deepEqual(read('--duration', '5s', '--all', '--', 'make', '--all', '-j4'), expected);
  assert.deepEqual(read('-a', '-d5s', '--', 'make', '--all', '-j4'), expected);
  assert.deepEqual(read('--duration=5s', '-a', '--', 'make', '--all', '-j4'), expected);
  assert.deepEqual(read(), { flags: {}, positionals: [], rest: undefined });
  assert.deepEqual(read('--').rest, []);
});

test('mistakes are one line that says what to write', () => {
  assert.equal(
    message('--durration', '5s'),
    'unknown flag --durration (did you mean --duration?); see `plumbline try --help`',
  );
  assert.equal(message('-x'), 'unknown flag -x; see `plumbline try --help`');
  assert.equal(message('--duration'), '--duration needs a value: --duration TIME');
  assert.equal(message('--duration', '--all'), '--duration needs a value: --duration TIME');
  assert.equal(message('--all=yes'), '--all takes no value, but got "yes"');
  assert.equal(message('-a', '--all'), '--all is given twice');
  assert.equal(message('make'), 'unexpected argument "make"; put a command to run after `--`');
  const plain = { ...command, takesRest: false };
  assert.throws(() => readArguments(plain, ['--', 'x']), /`--` is not expected/);
});

test('help is taken whatever else is wrong', () => {
  assert.equal(read('word', '--help').flags.help, true);
  assert.equal(read('-h').flags.help, true);
});

test('any words give arguments or a usage error, never something else', () => {
  const word = fc.oneof(
    fc.string(),
    fc.constantFrom('--', '-', '--all', '-d', '--duration=', '--no-all', '-ad', '--__proto__'),
  );
  fc.assert(
    fc.property(fc.array(word, { maxLength: 6 }), (words) => {
      try {
        readArguments(command, words);
      } catch (error) {
        assert.ok(error instanceof AgentError && error.code === 'usage', String(error));
      }
    }),
    { numRuns: 1000 },
  );
});

test('the nearest word is one that is really near', () => {
  assert.equal(nearest('recrod', ['record', 'agent', 'doctor']), 'record');
  assert.equal(nearest('max-frame', ['max-frames', 'format']), 'max-frames');
  assert.equal(nearest('zebra', ['record', 'agent']), undefined);
  assert.equal(nearest('x', ['all']), undefined);
});

test('edit distance is a metric on equal, swapped and different words', () => {
  assert.equal(editDistance('abcd', 'abdc'), 1);
  assert.equal(editDistance('', 'abc'), 3);
  fc.assert(
    fc.property(fc.string({ maxLength: 12 }), fc.string({ maxLength: 12 }), (a, b) => {
      assert.equal(editDistance(a, b), editDistance(b, a));
      assert.equal(editDistance(a, b) === 0, a === b);
      assert.ok(editDistance(a, b) <= Math.max(a.length, b.length));
    }),
  );
});
