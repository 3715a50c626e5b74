// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import fc from 'fast-check';
import { KernelSymbols } from './kernel-symbols.ts';

const TEXT = `0000000000000000 A fixed_percpu_data
ffffffff81000000 T _stext
ffffffff81000000 T startup_64
ffffffff81000100 t local_function
ffffffff81010200 T do_syscall_64
ffffffff81010200 t alias_of_it
ffffffff82000000 D some_data
ffffffffc0001000 t ext4_readdir\t[ext4]
ffffffffc0002000 t bpf_prog_0123456789abcdef_profile\t[bpf]
`;

test('functions of the kernel, of modules and of BPF programs', () => {
  const symbols = KernelSymbols.parse(Buffer.from(TEXT));
  const at = (address: bigint) => symbols.nameAt(address);
  assert.equal(at(0xffff_ffff_8100_0010n), '_stext');
  assert.equal(at(0xffff_ffff_8101_01ffn), 'local_function', 'to the next one, however far');
  assert.equal(at(0xffff_ffff_8101_0200n), 'do_syscall_64', 'of aliases, the exported one');
  assert.equal(at(0xffff_ffff_c000_1234n), 'ext4_readdir [ext4]');
  assert.equal(at(0xffff_ffff_c000_2001n), 'bpf_prog_0123456789abcdef_profile [bpf]');
  assert.equal(at(0xffff_ffff_80ff_ffffn), undefined);
  assert.equal(at(0xffff_ffff_c000_3000n), undefined, 'behind the last one');
  assert.equal(at(0n), undefined);
});

test('a kernel that hides its addresses has no functions', () => {
  const symbols = KernelSymbols.parse(Buffer.from(TEXT.replaceAll(/^[0-9a-f]{16}/gm, '0'.repeat(16))));
  assert.equal(symbols.count, 0);
  assert.equal(symbols.nameAt(0xffff_ffff_8100_0000n), undefined);
});

test('text of any form is survived', () => {
  const line = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 40 }),
    fc.constantFrom(
      'ffffffff81000000 T',
      'ffffffff81000000 T ',
      'FFFFFFFF81000000 T x',
      'ffffffff81000000 Tx',
      ...TEXT.split('\n'),
    ),
  );
  fc.assert(
    fc.property(fc.array(line), (lines) => {
      const symbols = KernelSymbols.parse(Buffer.from(lines.join('\n')));
      symbols.nameAt(0xffff_ffff_8100_0200n);
    }),
  );
});

test("this machine's kernel", { skip: process.getuid?.() === 0 ? false : 'only root sees addresses' }, () => {
  const text = readFileSync('/proc/kallsyms');
  const lines = text.toString('latin1').split('\n');
  const symbols = KernelSymbols.parse(text);
  const [, address] = /^([0-9a-f]{16}) T do_exit$/m.exec(text.toString('latin1')) ?? [];
  if (address === undefined || /^0+$/.test(address)) {
    assert.equal(
      symbols.count > 0,
      lines.some((line) => /^0*[1-9a-f][0-9a-f]* [tTwW] /.test(line)),
    );
    return;
  }
  assert.equal(symbols.nameAt(BigInt(`0x${address}`) + 1n), 'do_exit');
});
