// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ManualClock } from '../clock.ts';
import { percent, tabulate } from './outcome-table.ts';
import { Progress } from './progress.ts';
import { formatBytes, jsonSummary, type SummaryInput, textSummary } from './summary.ts';
import { plain } from './terminal.ts';

const REASONS = [
  { name: 'root_zero_ra', outcome: 'complete', sentence: 'zero return address' },
  { name: 'recovered', outcome: 'recovered', sentence: 'finished by the agent' },
  { name: 'no_unwind_info', outcome: 'truncated', sentence: 'no information' },
  { name: 'ring_full', outcome: 'dropped', sentence: 'ring full' },
  { name: 'not_selected', outcome: 'filtered', sentence: 'no policy' },
  { name: 'kernel_thread', outcome: 'kernel_only', sentence: 'a kernel thread' },
];

const input = (byReason: Record<string, number>, fired: number): SummaryInput => ({
  what: 'postgres (pid 7)',
  event: 'cpu-clock',
  frequency: 99,
  maxFrames: 4096,
  result: { counters: { fired, byReason }, strategy: 'loop', deepest: 1212, elapsedMs: 10_020 },
  reasons: REASONS,
  output: { path: "it's.pb.gz", format: 'pprof', bytes: 84_211 },
});

test('shares are of the samples that were wanted, the ratio is of the user stacks', () => {
  const table = tabulate(
    {
      fired: 1200,
      byReason: { root_zero_ra: 900, recovered: 45, no_unwind_info: 5, kernel_thread: 50, not_selected: 200 },
    },
    REASONS,
  );
  assert.equal(table.userStacks, 950);
  assert.equal(table.truncatedRatio, 5 / 950);
  assert.equal(table.unaccounted, 0);
  assert.deepEqual(
    table.rows.map(({ outcome, share }) => [outcome, share]),
    [
      ['complete', 0.9],
      ['recovered', 0.045],
      ['truncated', 0.005],
      ['kernel_only', 0.05],
      ['filtered', 0],
    ],
  );
});

test('rows add up to what fired, for any counters, known reasons or not', () => {
  const counts = fc.dictionary(
    fc.constantFrom(...REASONS.map((r) => r.name), 'of_a_newer_kernel_part'),
    fc.nat(1_000_000),
  );
  fc.assert(
    fc.property(counts, fc.nat(10), (byReason, inFlight) => {
      const sum = Object.values(byReason).reduce((a, b) => a + b, 0);
      const table = tabulate({ fired: sum + inFlight, byReason }, REASONS);
      assert.equal(table.unaccounted, inFlight);
      assert.equal(
        table.rows.reduce((total, row) => total + row.count, 0),
        sum,
      );
      assert.equal(
        Object.values(table.byOutcome).reduce((a, b) => a + b, 0),
        sum,
      );
      assert.ok(table.truncatedRatio >= 0 && table.truncatedRatio <= 1);
    }),
  );
});

test('percentages never hide a part', () => {
  assert.deepEqual([0, 0.0001, 0.5, 0.9999, 1].map(percent), ['0.0 %', '<0.1 %', '50.0 %', '>99.9 %', '100.0 %']);
});

test('the closing summary is a table with what to do next', () => {
  const text = textSummary(input({ root_zero_ra: 1995, no_unwind_info: 5, not_selected: 321 }, 2321), plain);
  assert.equal(
    text,
    [
      'Recorded postgres (pid 7) for 10s at 99 Hz (cpu-clock), strategy loop, deepest stack 1,212 frames',
      '',
      '  Outcome    Reason          Samples   Share',
      '  complete   root_zero_ra      1,995  99.8 %',
      '  truncated  no_unwind_info        5   0.3 %  no information',
      '  filtered   not_selected        321',
      '  fired                        2,321',
      '',
      '1,995 of 2,000 user stacks reach their root; truncated ratio 0.3 %.',
      "Wrote it's.pb.gz (84.2 kB); open it with `go tool pprof -http=: 'it'\\''s.pb.gz'`.",
      '',
    ].join('\n'),
  );
});

test('it says so when nothing ran, when all is well, and when samples are missing', () => {
  assert.match(textSummary(input({ not_selected: 5 }, 5), plain), /did not run on a CPU/);
  assert.match(textSummary(input({ root_zero_ra: 5 }, 5), plain), /5 of 5 user stacks reach their root\.\n/);
  assert.match(textSummary(input({ root_zero_ra: 5 }, 6), plain), /1 samples fired without an outcome/);
});

test('the JSON summary has every figure, and its parts add up', () => {
  const summary = jsonSummary(input({ root_zero_ra: 90, no_unwind_info: 10 }, 100));
  assert.deepEqual(summary.outcomes, { complete: 90, truncated: 10 });
  assert.equal(summary.truncatedRatio, 0.1);
  assert.equal(summary.fired, 100);
  assert.deepEqual(summary.output, { path: "it's.pb.gz", format: 'pprof', bytes: 84_211 });
  assert.equal(summary.exitCode, null);
});

test('sizes for people', () => {
  assert.deepEqual([0, 999, 1000, 99_499, 999_700, 5e9].map(formatBytes), [
    '0 bytes',
    '999 bytes',
    '1.0 kB',
    '99.5 kB',
    '1.0 MB',
    '5.0 GB',
  ]);
});

function progress(interactive: boolean) {
  const written: string[] = [];
  const clock = new ManualClock();
  const stream = {
    write: (text: string | Uint8Array) => written.push(String(text)) > 0,
    isTTY: interactive,
    columns: 80,
  };
  const line = new Progress({
    stream,
    interactive,
    paint: plain,
    what: 'pid 7',
    durationMs: 10_000,
    reasons: REASONS,
    clock,
  });
  const counters = { fired: 800, byReason: { root_zero_ra: 790, no_unwind_info: 3, not_selected: 7 } };
  return { written, clock, line, counters };
}

test('on a terminal one line is rewritten, at most ten times a second, and taken away at the end', async () => {
  const { written, clock, line, counters } = progress(true);
  for (let ms = 0; ms <= 1000; ms += 10) {
    line.update({ phase: 'recording', elapsedMs: ms, counters });
    await clock.advance(10);
  }
  line.end();
  assert.equal(written.length, 12);
  assert.match(written[0], /^\r⠋ recording pid 7 {2}░{12} 10s left {2}793 samples {2}99\.6 % whole/);
  assert.ok(written.every((text) => !text.includes('\n')));
  assert.equal(written.at(-1), '\r\x1b[K');
});

test('elsewhere there is a line for each phase and every ten seconds', async () => {
  const { written, clock, line, counters } = progress(false);
  line.update({ phase: 'preparing', elapsedMs: 0, counters, done: 3, total: 12 });
  for (let second = 0; second < 25; second++) {
    line.update({ phase: 'recording', elapsedMs: second * 1000, counters });
    await clock.advance(1000);
  }
  line.end();
  assert.equal(written.length, 4);
  assert.equal(written[0], 'plumbline: preparing to record pid 7  3 of 12\n');
  assert.equal(written[1], 'plumbline: recording pid 7 for 10s  793 samples  99.6 % whole  3 truncated\n');
  assert.equal(written[2], 'plumbline: recording pid 7  0ms left  793 samples  99.6 % whole  3 truncated\n');
});
