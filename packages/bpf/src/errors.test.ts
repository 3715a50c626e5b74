// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { BpfError, CAPABILITIES, effectiveCapabilities } from './errors.ts';

describe('BpfError', () => {
  test('says what was tried, what came of it, and what to do', () => {
    const error = new BpfError({ operation: 'open object x', errno: 24 });
    assert.equal(
      error.message,
      'open object x: too many open files (EMFILE); raise the limit of open files (ulimit -n)',
    );
    assert.deepEqual(
      [error.name, error.code, error.errno, error.operation],
      ['BpfError', 'EMFILE', 24, 'open object x'],
    );
    assert.ok(error instanceof Error);
  });

  const advice: [string, ConstructorParameters<typeof BpfError>[0], RegExp][] = [
    [
      'no BTF',
      { operation: 'load object p', errno: 3, libbpfLog: 'libbpf: failed to find valid kernel BTF\n' },
      /CONFIG_DEBUG_INFO_BTF/,
    ],
    [
      'refused program',
      { operation: 'load object p', errno: 22, verifierLog: 'R1 !read_ok\nprocessed 1 insns\n' },
      /verifierLog/,
    ],
    ['no hardware event', { operation: 'perf_event_open', errno: 2 }, /use the CPU clock/],
    ['no memory', { operation: 'create map x', errno: 12 }, /make the maps smaller/],
    ['no system call', { operation: 'create map x', errno: 38 }, /CONFIG_BPF_SYSCALL/],
    [
      'library missing',
      {
        operation: 'load addon.node',
        code: 'ADDON_MISSING',
        detail: 'libbpf.so.1: cannot open shared object file: No such file or directory',
      },
      /install libbpf1/,
    ],
    ['addon missing', { operation: 'find addon.node', code: 'ADDON_MISSING', detail: 'not there' }, /build:addon/],
  ];
  for (const [name, options, pattern] of advice) {
    test(`advice: ${name}`, () => assert.match(new BpfError(options).advice, pattern));
  }

  test('the last telling line of a verifier log is the reason', () => {
    const verifierLog =
      '0: (85) call 9999\ninvalid func unknown#9999\nprocessed 1 insns (limit 1000000) max_states_per_insn 0\n';
    assert.match(
      new BpfError({ operation: 'load', errno: 22, verifierLog }).message,
      /^load: invalid func unknown#9999 \(EINVAL\); /,
    );
  });

  test('numbers without a name in the C library have one here', () => {
    assert.equal(new BpfError({ operation: 'x', errno: 524 }).code, 'ENOTSUPP');
    assert.equal(new BpfError({ operation: 'x', errno: 4003 }).code, 'LIBBPF_4003');
    assert.equal(new BpfError({ operation: 'x', errno: 3999 }).code, 'E3999');
  });

  test('a lack of rights names them, where there is one', () => {
    const held = effectiveCapabilities();
    const { advice } = new BpfError({ operation: 'load object p', errno: 1 });
    if (!held.has('CAP_SYS_ADMIN') && !held.has('CAP_BPF'))
      assert.match(advice, /run as root, or give the process CAP_BPF/);
    else assert.doesNotMatch(advice, /run as root/);
    for (const name of held) assert.ok(name in CAPABILITIES);
  });
});
