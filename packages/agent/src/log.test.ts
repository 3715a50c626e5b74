// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock } from './clock.ts';
import { AgentError } from './errors.ts';
import type { LogOptions } from './log.ts';
import { createLogger } from './log.ts';

function capture(options: Partial<LogOptions> = {}) {
  const lines: string[] = [];
  const clock = new ManualClock(Date.UTC(2026, 0, 2, 3, 4, 5, 678));
  const log = createLogger({ level: 'debug', format: 'json', clock, write: (line) => lines.push(line), ...options });
  return { lines, clock, log };
}

test('JSON lines carry time, level, message, fields; big integers and errors survive', () => {
  const { lines, log } = capture();
  log.child({ component: 'export' }).warn('batch refused', {
    bytes: 12n,
    error: new AgentError('config_invalid', 'bad', 'fix it'),
    cause: new RangeError('too far'),
  });
  assert.equal(lines.length, 1);
  assert.ok(lines[0]?.endsWith('}\n'));
  const { cause, ...rest } = JSON.parse(lines[0] as string);
  assert.deepEqual(rest, {
    time: '2026-01-02T03:04:05.678Z',
    level: 'warn',
    message: 'batch refused',
    component: 'export',
    bytes: '12',
    error: { code: 'config_invalid', message: 'bad', remedy: 'fix it' },
  });
  assert.equal(cause.message, 'too far');
});

test('text is one line, with values quoted only where they need it', () => {
  const { lines, log } = capture({ format: 'text' });
  log.info('ready', { component: 'http', address: '127.0.0.1:9102', note: 'two words\nand a line', n: 3 });
  assert.deepEqual(lines, [
    '03:04:05.678 INFO  http: ready address=127.0.0.1:9102 note="two words\\nand a line" n=3\n',
  ]);
});

test('levels below the threshold are not written', () => {
  const { lines, log } = capture({ level: 'warn' });
  log.info('no');
  log.warn('yes');
  assert.equal(lines.length, 1);
  assert.equal(log.enabled('info'), false);
  assert.equal(log.enabled('error'), true);
});

test('a repeated message is written once per window, then says how many were left out', async () => {
  const { lines, log, clock } = capture();
  for (let i = 0; i < 50; i++) log.warn('collector down', { attempt: i });
  log.warn('collector down', { key: 'other', attempt: 0 });
  assert.equal(lines.length, 2);
  await clock.advance(10_001);
  log.warn('collector down', { attempt: 50 });
  const last = JSON.parse(lines[2] as string);
  assert.equal(last.suppressed, 49);
  assert.equal(last.attempt, 50);
  log.warn('another');
  assert.equal(JSON.parse(lines[3] as string).suppressed, undefined);
});

test('remembering repeats is bounded', () => {
  const { lines, log } = capture();
  for (let i = 0; i < 2000; i++) log.warn(`message ${i}`);
  log.warn('message 0'); // forgotten, so written again
  assert.equal(lines.length, 2001);
});
