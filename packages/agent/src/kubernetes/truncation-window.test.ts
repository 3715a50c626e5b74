// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type IntervalCounts, TruncationWindow } from './truncation-window.ts';

const counts = (
  samples: number,
  truncated: number,
  reason = 'no_unwind_info',
  workload = 'shop/api',
  file = '/bin/api',
): IntervalCounts => ({
  samples,
  truncated,
  frames: 10 * samples,
  byReason: new Map(truncated > 0 ? [[reason, truncated]] : []),
  byWorkload: new Map(truncated > 0 ? [[workload, truncated]] : []),
  byFile: new Map(truncated > 0 ? [[reason, new Map([[file, truncated]])]] : []),
});
const MINUTE = 60_000;

describe('TruncationWindow', () => {
  it('says nothing of a few samples, and holds on to a judgement a little longer', () => {
    const window = new TruncationWindow(0.01, 10 * MINUTE);
    window.add(counts(99, 50), 0);
    assert.equal(window.figures(0).bucket, 'Unknown');
    window.add(counts(1, 0), 10_000);
    assert.equal(window.figures(10_000).bucket, 'Degraded');
    window.add(counts(60, 0), 8 * MINUTE);
    assert.equal(window.figures(12 * MINUTE).bucket, 'Ok', '60 samples are enough to go on judging');
    assert.equal(window.figures(30 * MINUTE).bucket, 'Unknown');
  });

  it('counts only the window', () => {
    const window = new TruncationWindow(0.5, 10 * MINUTE);
    for (let minute = 0; minute < 30; minute++) window.add(counts(10, minute < 20 ? 10 : 0), minute * MINUTE);
    const { samples, truncated, ratio } = window.figures(29 * MINUTE);
    assert.ok(samples >= 100 && samples <= 110, `${samples}`);
    assert.ok(truncated <= 10, `${truncated}`);
    assert.equal(ratio, truncated / samples);
  });

  it('has hysteresis: once above the objective, it must come well below it', () => {
    const window = new TruncationWindow(0.1, MINUTE);
    const bucketAt = (truncated: number, minute: number) => {
      window.add(counts(1000, truncated), minute * 2 * MINUTE); // two windows apart: nothing of before is left
      return window.figures(minute * 2 * MINUTE).bucket;
    };
    assert.equal(bucketAt(100, 0), 'Ok', 'at the objective is within it');
    assert.equal(bucketAt(101, 1), 'Degraded');
    assert.equal(bucketAt(95, 2), 'Degraded');
    assert.equal(bucketAt(80, 3), 'Ok');
    assert.equal(bucketAt(95, 4), 'Ok');
  });

  it('names the most frequent reason, its file, and the worst workload', () => {
    const window = new TruncationWindow(0.1, MINUTE);
    window.add(counts(100, 5, 'read_fault', 'shop/db'), 0);
    window.add(counts(100, 3, 'frame_limit', 'shop/api'), 1);
    window.add(counts(100, 3, 'frame_limit', 'shop/web', '/bin/web'), 2);
    window.add(counts(10, 1, 'frame_limit', 'shop/web', '/bin/web'), 3);
    const { topReason, topFile, worstWorkload } = window.figures(3);
    assert.deepEqual([topReason, topFile, worstWorkload], ['frame_limit', '/bin/web', 'shop/db']);
  });
});
