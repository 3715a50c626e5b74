// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ADVICE } from '@plumbline/api';
import { FEATURES, reasons } from '@plumbline/bpf';
import { ATTRIBUTE } from '../profile/attribute-names.ts';
import { NO_MAPPING } from '../profile/mapping-table.ts';
import { Profile } from '../profile/profile.ts';
import { type ExplainContext, explainProfile } from './explanation.ts';
import { explanationLines, explanationSummary } from './explanation-text.ts';

const CONTEXT: ExplainContext = {
  kernel: '5.10.0-33',
  strategy: 'tailCall',
  kernelLimits: [
    { feature: 'loop', since: '5.17', effect: 'e' },
    { feature: 'taskWork', since: '6.18', effect: 'e' },
  ],
  policies: [
    { name: 'shop', maxFrames: 64, spill: 'Auto' },
    { name: 'rest', maxFrames: 1024, spill: 'Never' },
  ],
  sentences: new Map(reasons.map(({ name, sentence }) => [name, sentence])),
};

interface Cut {
  readonly count: number;
  readonly reason?: string;
  readonly program?: string;
  readonly pid?: number;
  readonly policy?: string;
  readonly file?: string;
  readonly buildId?: string;
  readonly page?: string;
  readonly root?: string;
}

function profileOf(cuts: readonly Cut[]): Profile {
  const profile = new Profile({ startUnixNano: 0n });
  for (const { count, reason, program = 'api', pid = 7, policy = 'shop', root = 'main', ...place } of cuts) {
    const resource = profile.attributes.internSet({
      [ATTRIBUTE.processPid]: pid,
      [ATTRIBUTE.processExecutableName]: program,
      [ATTRIBUTE.namespaceName]: 'shop',
      [ATTRIBUTE.serviceName]: 'checkout',
    });
    const frames = ['leaf', root].map((name) => profile.internFrame('native', NO_MAPPING, name.length, [{ name }]));
    if (reason) frames.push(profile.internTruncatedRoot(reason));
    profile.addSample(
      resource,
      profile.stacks.internLeafFirst(frames),
      {
        [ATTRIBUTE.stackOutcome]: reason ? 'truncated' : 'complete',
        [ATTRIBUTE.truncationReason]: reason,
        [ATTRIBUTE.policyName]: policy,
        [ATTRIBUTE.truncationFile]: place.file,
        [ATTRIBUTE.truncationBuildId]: place.buildId,
        [ATTRIBUTE.truncationPage]: place.page,
      },
      count,
    );
  }
  return profile;
}

const explain = (cuts: readonly Cut[], more: Partial<ExplainContext> = {}) =>
  explainProfile(profileOf(cuts), { ...CONTEXT, ...more });
const text = (cuts: readonly Cut[], more: Partial<ExplainContext> = {}) =>
  explanationLines(explain(cuts, more), 'shop/checkout').join('\n');

describe('advice', () => {
  it('has a word for every reason for which stacks are cut or lost, and for no other', () => {
    const bad = reasons.filter(({ outcome }) => outcome === 'truncated' || outcome === 'dropped');
    assert.deepEqual(Object.keys(ADVICE).sort(), bad.map(({ name }) => name as string).sort());
  });

  it('names kernel features that exist, and fits a condition', () => {
    for (const { features = [], todo } of Object.values(ADVICE)) {
      for (const feature of features) assert.ok(feature in FEATURES, feature);
      assert.ok(todo.length < 200 && !todo.endsWith('.'), todo);
    }
  });
});

describe('an explanation', () => {
  it('names the file with its build id, pages and functions, and who runs it', () => {
    const cuts: Cut[] = [
      { count: 900 },
      { count: 60, reason: 'no_unwind_info', file: '/opt/libfoo.so', buildId: 'ab12', page: '0x3000', root: 'foo_run' },
      {
        count: 30,
        reason: 'no_unwind_info',
        file: '/opt/libfoo.so',
        buildId: 'ab12',
        page: '0x4000',
        root: 'foo_run',
        pid: 8,
      },
      { count: 10, reason: 'no_unwind_info', file: '/opt/libbar.so', root: 'bar' },
    ];
    const explanation = explain(cuts);
    assert.deepEqual([explanation.samples, explanation.truncated, explanation.truncatedRatio], [1000, 100, 0.1]);
    const [cause] = explanation.causes;
    assert.deepEqual(cause.files, [
      { path: '/opt/libfoo.so', buildId: 'ab12', samples: 90, pages: ['0x3000', '0x4000'], functions: ['foo_run'] },
      { path: '/opt/libbar.so', buildId: '', samples: 10, pages: [], functions: ['bar'] },
    ]);
    assert.deepEqual(
      cause.processes.map(({ pid, samples }) => [pid, samples]),
      [
        [7, 70],
        [8, 30],
      ],
    );
    const lines = text(cuts);
    assert.match(
      lines,
      /^shop\/checkout: 100 of 1,000 user stacks are cut \(10\.0 %\); strategy tailCall, Linux 5\.10/,
    );
    assert.match(lines, /1\. no_unwind_info: 100 samples, 10\.0 % of all\. The file has no unwind information/);
    assert.match(lines, /→ Build the file with -fasynchronous-unwind-tables/);
    assert.match(lines, /\/opt\/libfoo\.so \(build id ab12\): 90 samples; pages 0x3000, 0x4000; in foo_run/);
    assert.match(lines, /\/opt\/libbar\.so \(no build id\): 10 samples/);
    assert.equal(
      explanationSummary(explanation),
      `10.0 % of user stacks are cut, mostly for no_unwind_info in /opt/libfoo.so (build id ab12): ${ADVICE.no_unwind_info.todo}`,
    );
  });

  it('names the policy whose limit cuts', () => {
    const cuts = [{ count: 50, reason: 'frame_limit', policy: 'shop', file: '/bin/x' }, { count: 50 }];
    assert.match(text(cuts), /→ Raise spec\.unwinding\.maxFrames of policy shop \(64\); at most 4096\./);
    assert.doesNotMatch(text(cuts), /\/bin\/x/, 'a limit cuts anywhere');
    const own = text([{ count: 1, reason: 'frame_limit', policy: '' }], {
      policies: [{ name: '', maxFrames: 100, spill: 'Auto' }],
    });
    assert.match(own, /→ Raise --max-frames, which is 100/);
  });

  it('names the process that is 32-bit', () => {
    const lines = text([{ count: 5, reason: 'compat_32bit', program: 'legacy', pid: 4242 }]);
    assert.match(lines, /→ Run a 64-bit build of the program/);
    assert.match(lines, /shop\/checkout: legacy \(pid 4242, 5\)/);
  });

  it('says which kernel would lift it, where this one lacks the feature', () => {
    assert.match(
      text([{ count: 5, reason: 'read_fault' }]),
      /→ Linux 6\.18 or newer lifts it \(this kernel lacks taskWork\)/,
    );
    assert.match(text([{ count: 5, reason: 'tail_call_limit' }]), /→ Linux 5\.17 or newer lifts it/);
    assert.doesNotMatch(text([{ count: 5, reason: 'read_fault' }], { kernelLimits: [] }), /or newer/);
  });

  it('asks for a setting only where it is not set already', () => {
    const cut = (policy: string) => [{ count: 5, reason: 'tail_call_limit', policy }];
    assert.match(text(cut('rest')), /now Never in rest/);
    assert.match(text(cut('shop')), /→ Upgrade the kernel of the node/);
    assert.match(text(cut('shop'), { kernelLimits: [] }), /→ Set spec\.unwinding\.strategy to Auto: this kernel/);
    assert.match(text([{ count: 5, reason: 'unsupported_rule', file: '/a' }]), /→ Nothing to set/);
  });

  it('orders causes by samples, and only names rare ones', () => {
    const lines = text([
      { count: 1, reason: 'walk_lost' },
      { count: 40, reason: 'bad_frame', file: '/a' },
      { count: 60, reason: 'unknown_jit' },
      { count: 9900 },
    ]);
    assert.match(lines, /1\. unknown_jit[\s\S]+2\. bad_frame[\s\S]+Rarely also: walk_lost \(1\)\.$/);
  });

  it('says that all is well, that nothing was seen, and what was lost', () => {
    assert.match(text([{ count: 10 }]), /0 of 10 user stacks are cut \(0\.0 %\)[\s\S]+every stack reaches its root/);
    assert.equal(text([]), 'No user stacks of shop/checkout were sampled.');
    assert.equal(explanationSummary(explain([{ count: 10 }])), undefined);
    const lost = text([{ count: 10 }], { lost: { ring_full: 3, queue_full: 0 } });
    assert.match(lost, /Lost: 3 samples for ring_full\. Lower spec/);
    assert.doesNotMatch(lost, /queue_full|Nothing to do/);
  });
});
