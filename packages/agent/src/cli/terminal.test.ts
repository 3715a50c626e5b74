// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { alignedTable } from './table.ts';
import { clip, colorsOf, isInteractive, paintFor, printable, visibleLength, wrap } from './terminal.ts';

const terminal = { write: () => true, isTTY: true };
const pipe = { write: () => true };

test('colours follow the terminal, NO_COLOR and FORCE_COLOR', () => {
  assert.equal(colorsOf(terminal, { TERM: 'xterm' }), true);
  assert.equal(colorsOf(terminal, { TERM: 'dumb' }), false);
  assert.equal(colorsOf(pipe, {}), false);
  assert.equal(colorsOf(terminal, { NO_COLOR: '1', FORCE_COLOR: '1' }), false);
  assert.equal(colorsOf(terminal, { NO_COLOR: '' }), true);
  assert.equal(colorsOf(pipe, { FORCE_COLOR: '1' }), true);
  assert.equal(paintFor(pipe, {})('red', 'x'), 'x');
  assert.equal(visibleLength(paintFor(terminal, {})('red', 'four')), 4);
});

test('lines are rewritten only on a real terminal', () => {
  assert.equal(isInteractive(terminal, {}), true);
  assert.equal(isInteractive(terminal, { CI: 'true' }), false);
  assert.equal(isInteractive(pipe, {}), false);
});

test('names from elsewhere cannot drive the terminal', () => {
  assert.equal(printable('a\x1b[2Jb\nc\x9bd'), 'a?[2Jb?c?d');
});

test('text is clipped and wrapped by characters', () => {
  assert.equal(clip('abcdef', 4), 'abc…');
  assert.equal(clip('abcd', 4), 'abcd');
  assert.equal(wrap('one two three four', 9), 'one two\nthree\nfour');
});

test('columns are aligned by what is seen', () => {
  const paint = paintFor(terminal, {});
  const lines = alignedTable(
    [
      ['a', '1'],
      [paint('red', 'long'), '1,000'],
    ],
    [1],
  ).split('\n');
  assert.deepEqual(lines.map(visibleLength), [13, 13]);
  assert.equal(lines[0], '  a         1');
});
