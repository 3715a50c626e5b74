// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FEATURES, type FeatureName, type KernelReport } from '@plumbline/bpf';
import { diagnose, type Findings } from './diagnosis.ts';
import { report } from './doctor.ts';
import { CAPABILITY_USES, checkMachine } from './preflight.ts';
import { plain } from './terminal.ts';

const NAMES = Object.keys(FEATURES) as FeatureName[];

function kernel(missing: FeatureName[] = [], changes: Partial<KernelReport> = {}): KernelReport {
  const features = Object.fromEntries(
    NAMES.map((name) => {
      const { since, commit, without } = FEATURES[name];
      return [name, { name, supported: !missing.includes(name), since, commit, without }];
    }),
  ) as KernelReport['features'];
  return {
    release: '6.18.0',
    libbpf: '1.1',
    features,
    hardwareCycles: true,
    capabilities: [
      'CAP_BPF',
      'CAP_PERFMON',
      'CAP_SYS_PTRACE',
      'CAP_DAC_READ_SEARCH',
      'CAP_CHECKPOINT_RESTORE',
      'CAP_SYSLOG',
    ],
    lockdown: 'none',
    perfEventParanoid: 2,
    perfEventMlockKb: 516,
    perfEventMaxSampleRate: 100_000,
    jit: true,
    memlockLimit: 65_536,
    ...changes,
  };
}

const selfTest = { verdict: 'passed', detail: 'walked' } as const;
const loop = { loaded: true, name: 'loop', why: 'best', selfTest, rejected: [] } as const;

function findings(changes: Partial<Findings> = {}): Findings {
  return { kernel: kernel(), strategy: loop, kptrRestrict: 1, hostPidNamespace: true, ...changes };
}

const find = (given: Findings, name: string) => {
  const check = diagnose(given).checks.find((c) => c.name === name);
  assert.ok(check, name);
  return check;
};

test('a machine that has everything is fine', () => {
  const diagnosis = diagnose(findings());
  assert.equal(diagnosis.works, true);
  assert.equal(diagnosis.depth, 4096);
  assert.deepEqual(
    diagnosis.checks.filter(({ status }) => status !== 'ok'),
    [],
  );
  assert.deepEqual(diagnosis.newerKernel, []);
});

test('a required capability that is missing fails, an optional one warns, CAP_SYS_ADMIN stands in for some', () => {
  const none = findings({ kernel: kernel([], { capabilities: [] }) });
  assert.equal(diagnose(none).works, false);
  assert.equal(find(none, 'CAP_BPF').status, 'fail');
  assert.equal(find(none, 'CAP_SYSLOG').status, 'warn');
  const admin = findings({ kernel: kernel([], { capabilities: ['CAP_SYS_ADMIN', 'CAP_SYS_PTRACE'] }) });
  assert.equal(find(admin, 'CAP_BPF').status, 'ok');
  assert.equal(find(admin, 'perf_event_paranoid').status, 'ok');
  assert.equal(diagnose(admin).works, true);
});

test('each setting that hinders is named with what to change', () => {
  const cases: [Partial<KernelReport>, Partial<Findings>, string, string, RegExp][] = [
    [{ lockdown: 'confidentiality' }, {}, 'lockdown', 'fail', /lockdown=integrity/],
    [{ jit: false }, {}, 'BPF compiler', 'warn', /bpf_jit_enable/],
    [{ perfEventMaxSampleRate: 250 }, {}, 'sample rate', 'warn', /max_sample_rate/],
    [{}, { kptrRestrict: 2 }, 'kptr_restrict', 'warn', /kptr_restrict=1/],
    [{}, { hostPidNamespace: false }, 'process numbers', 'fail', /hostPID/],
  ];
  for (const [report, facts, name, status, remedy] of cases) {
    const check = find(findings({ kernel: kernel([], report), ...facts }), name);
    assert.equal(check.status, status, name);
    assert.match(check.remedy, remedy);
  }
});

test('locked memory matters only where the kernel does not account by cgroup', () => {
  const old = kernel(['cgroupMemoryAccounting']);
  assert.equal(find(findings({ kernel: old }), 'memory for BPF').status, 'fail');
  const raised = { ...old, capabilities: [...old.capabilities, 'CAP_SYS_RESOURCE' as const] };
  assert.equal(find(findings({ kernel: raised }), 'memory for BPF').status, 'ok');
  assert.equal(find(findings({ kernel: { ...old, memlockLimit: null } }), 'memory for BPF').status, 'ok');
});

test('missing features warn or fail, and say which kernel has them', () => {
  const old = findings({ kernel: kernel(['taskWork', 'loop']) });
  assert.equal(find(old, 'loop').status, 'warn');
  assert.deepEqual(
    diagnose(old).newerKernel.map(({ feature, since }) => [feature, since]),
    [
      ['loop', '5.17'],
      ['taskWork', '6.18'],
    ],
  );
  assert.equal(find(findings({ kernel: kernel(['ringBuffer']) }), 'ringBuffer').status, 'fail');
});

test('the chosen strategy says how deep it reaches and why no better one is used', () => {
  const diagnosis = diagnose(
    findings({
      strategy: {
        ...{ loaded: true, name: 'tailCall', why: 'refused' },
        selfTest: { ...selfTest, framesPerProgram: 24 },
        rejected: [{ strategy: 'loop', cause: 'refused', detail: 'unknown func bpf_loop#181' }],
        newer: { strategy: 'loop', since: '5.17' },
      },
    }),
  );
  assert.equal(diagnosis.depth, 33 * 24);
  const text = report('head', diagnosis, plain);
  assert.match(text, /tailCall: stacks of up to 792 frames; the best that this kernel takes/);
  assert.match(text, /loop was refused: unknown func bpf_loop/);
  assert.match(text, /self-test passed: walked/);
  assert.match(text, /Linux 5\.17 or newer has loop/);
  assert.match(text, /Profiling works here\./);
});

test('when it cannot work, the causes are named, also where the native part does not load', () => {
  const broken = findings({
    kernel: undefined,
    kernelError: { reason: 'addon missing', remedy: 'run make build' },
    strategy: { loaded: false, reason: 'addon missing', remedy: 'run make build' },
  });
  assert.equal(diagnose(broken).works, false);
  assert.match(report('head', diagnose(broken), plain), /cannot work here:\n {2}native part: run make build/);
  const rejected = findings({ strategy: { loaded: false, reason: 'verifier', remedy: 'report it' } });
  assert.match(report('head', diagnose(rejected), plain), /cannot work here:\n {2}strategy: report it/);
});

test('a recording refuses for the same reasons, before anything is started', () => {
  const all = new Set<string>(CAPABILITY_USES.map(({ name }) => name));
  const fine = { capabilities: all, lockdown: 'none', hasBtf: true } as const;
  checkMachine(fine);
  assert.throws(() => checkMachine({ ...fine, capabilities: new Set() }), {
    code: 'not_permitted',
    message: 'this process lacks CAP_BPF, CAP_PERFMON, CAP_SYS_PTRACE',
  });
  assert.throws(() => checkMachine({ ...fine, lockdown: 'confidentiality' }), {
    code: 'not_permitted',
    message: /lockdown/,
  });
  assert.throws(() => checkMachine({ ...fine, hasBtf: false }), {
    code: 'btf_missing',
    remedy: /CONFIG_DEBUG_INFO_BTF/,
  });
});
