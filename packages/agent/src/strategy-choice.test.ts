// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { BpfError } from '@plumbline/bpf';
import type { Strategy } from './recording-options.ts';
import type { SelfTestResult } from './self-test.ts';
import { ladder } from './session/strategy.ts';
import { choose, describeChoice } from './strategy-choice.ts';

const LADDER: readonly Strategy[] = ['deferred', 'loop', 'tailCall'];
const passed: SelfTestResult = { verdict: 'passed', detail: 'walked' };
const failed: SelfTestResult = { verdict: 'failed', detail: 'cut' };
const refused = new BpfError({ operation: 'load', errno: 22, verifierLog: 'unknown func' });
const missing = new BpfError({ operation: 'load', code: 'UNSUPPORTED', detail: 'no function' });

/** A test that gives each strategy its result, or throws its error. */
const results = (of: Partial<Record<Strategy, SelfTestResult | Error>>) => async (strategy: Strategy) => {
  const result = of[strategy];
  if (result instanceof Error) throw result;
  assert.ok(result, `${strategy} need not be tried`);
  return result;
};

describe('the ladder', () => {
  it('has deferred on top where memory may be paged out, else below loop, which costs less', () => {
    const names = (mayPageOut: boolean) => ladder(mayPageOut).map(({ name }) => name);
    assert.deepEqual(names(true), ['deferred', 'loop', 'tailCall']);
    assert.deepEqual(names(false), ['loop', 'deferred', 'tailCall']);
  });
});

describe('choose', () => {
  it('takes the best that stands its test, and tries no other', async () => {
    const chosen = await choose(LADDER, results({ deferred: passed }));
    assert.deepEqual(chosen, { name: 'deferred', why: 'best', selfTest: passed, rejected: [] });
  });

  it('steps down from what the kernel refuses, and says what a newer one would give', async () => {
    const chosen = await choose(LADDER, results({ deferred: missing, loop: refused, tailCall: passed }));
    assert.equal(chosen.name, 'tailCall');
    assert.equal(chosen.why, 'refused');
    assert.deepEqual(
      chosen.rejected.map(({ strategy, cause }) => [strategy, cause]),
      [
        ['deferred', 'refused'],
        ['loop', 'refused'],
      ],
    );
    assert.deepEqual(chosen.newer, { strategy: 'deferred', since: '6.18' });
    assert.deepEqual(describeChoice(chosen), [
      'the best that this kernel takes',
      'self-test passed: walked',
      'Linux 6.18 or newer has deferred',
    ]);
  });

  it('steps down from what does not stand its test', async () => {
    const chosen = await choose(LADDER, results({ deferred: failed, loop: passed }));
    assert.deepEqual([chosen.name, chosen.why, chosen.newer], ['loop', 'self_test', undefined]);
    assert.deepEqual(chosen.rejected, [{ strategy: 'deferred', cause: 'self_test', detail: 'cut' }]);
    assert.deepEqual(describeChoice(chosen), ['better ones did not stand their self-test', 'self-test passed: walked']);
  });

  it('takes one that could not be tested for want of a sample', async () => {
    const undecided: SelfTestResult = { verdict: 'undecided', detail: 'no sample' };
    assert.equal((await choose(LADDER, results({ deferred: undecided }))).name, 'deferred');
  });

  it('takes the last one that loads where none stands its test', async () => {
    const chosen = await choose(LADDER, results({ deferred: missing, loop: failed, tailCall: failed }));
    assert.deepEqual([chosen.name, chosen.why, chosen.selfTest], ['tailCall', 'unproven', failed]);
  });

  it('throws where none loads, and at once for want of rights', async () => {
    const none = choose(LADDER, results({ deferred: missing, loop: refused, tailCall: refused }));
    await assert.rejects(none, refused);
    const denied = new BpfError({ operation: 'load', errno: 1 });
    await assert.rejects(choose(LADDER, results({ deferred: denied })), denied);
  });
});
