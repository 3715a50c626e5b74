// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BpfError, type BpfErrorOptions } from '@plumbline/bpf';
import { AGENT_ERROR_CODES, AgentError } from './errors.ts';

test('an AgentError passes through unchanged', () => {
  const error = new AgentError('no_such_process', 'no process 12', 'check the number');
  assert.equal(AgentError.from(error), error);
  assert.equal(error.toLine(), 'no process 12; check the number');
  assert.deepEqual(JSON.parse(JSON.stringify(error)), {
    code: 'no_such_process',
    message: 'no process 12',
    remedy: 'check the number',
  });
});

test('an error of the kernel wrapper keeps its advice, and its errno decides the code', () => {
  const thrown = Object.assign(new Error('load of program sample failed: EPERM\nverifier log line'), {
    code: 'EPERM',
    operation: 'load',
    advice: 'add CAP_BPF and CAP_PERFMON',
  });
  const error = AgentError.from(thrown);
  assert.equal(error.code, 'not_permitted');
  assert.equal(error.toLine(), 'load of program sample failed: EPERM; add CAP_BPF and CAP_PERFMON');
  assert.equal(error.cause, thrown);
  assert.equal(
    AgentError.from(Object.assign(new Error('x'), { code: 'EINVAL', operation: 'load' })).code,
    'bpf_unavailable',
  );
});

test('anything else thrown is a defect that asks to be reported, and stays one line', () => {
  for (const thrown of [new TypeError('x is undefined\n at y'), 'text', null]) {
    const error = AgentError.from(thrown);
    assert.equal(error.code, 'internal');
    assert.match(error.toLine(), /please report/);
    assert.ok(!error.toLine().includes('\n'));
    assert.ok(error.code in AGENT_ERROR_CODES);
  }
});

test('what the kernel refuses becomes the code that says whose matter it is', () => {
  const cases: [BpfErrorOptions, string, RegExp][] = [
    [{ operation: 'load object profiler', errno: 38 }, 'bpf_unavailable', /CONFIG_BPF_SYSCALL/],
    [{ operation: 'load object profiler', errno: 3, libbpfLog: 'libbpf: kernel BTF is missing' }, 'btf_missing', /BTF/],
    [{ operation: 'perf_event_open cpuCycles', errno: 2 }, 'event_unavailable', /use the CPU clock/],
    [{ operation: 'load addon', code: 'ADDON_MISSING', detail: 'not found' }, 'not_built', /build/],
    [{ operation: 'load program', errno: 22, verifierLog: 'R1 invalid mem access' }, 'bpf_unavailable', /verifier/],
  ];
  for (const [options, code, remedy] of cases) {
    const error = AgentError.from(new BpfError(options));
    assert.equal(error.code, code, options.operation);
    assert.match(error.remedy, remedy);
    assert.ok(!error.message.includes(error.remedy), 'the advice is said once');
  }
});
