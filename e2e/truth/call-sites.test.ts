// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { closeFiles, endsInCall, withoutCallSite } from './call-sites.ts';

describe('endsInCall', () => {
  const calls: [string, number[]][] = [
    ['call rel32', [0xe8, 1, 2, 3, 4]],
    ['call *%rax', [0x90, 0xff, 0xd0]],
    ['call *%r11', [0x41, 0xff, 0xd3]],
    ['call *(%rax)', [0xff, 0x10]],
    ['call *8(%rax)', [0xff, 0x50, 0x08]],
    ['call *0x100(%rbx)', [0xff, 0x93, 0, 1, 0, 0]],
    ['call *0x2fe2(%rip)', [0xff, 0x15, 0xe2, 0x2f, 0, 0]],
    ['call *(%rax,%rbx,8)', [0xff, 0x14, 0xd8]],
    ['call *16(%rsp)', [0xff, 0x54, 0x24, 0x10]],
    ['call *0x200(%rsp)', [0xff, 0x94, 0x24, 0, 2, 0, 0]],
    ['call *0x1000(,%rax,8)', [0xff, 0x14, 0xc5, 0, 0x10, 0, 0]],
  ];
  for (const [name, code] of calls) it(name, () => assert.equal(endsInCall(Uint8Array.from(code)), true));

  const others: [string, number[]][] = [
    ['nothing', []],
    ['nops', [0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90]],
    ['jmp *%rax', [0x90, 0x90, 0x90, 0x90, 0x90, 0xff, 0xe0]],
    ['push 8(%rax)', [0x90, 0x90, 0x90, 0x90, 0xff, 0x70, 0x08]],
    ['a call and a nop', [0x90, 0xe8, 1, 2, 3, 4, 0x90]],
    ['syscall', [0x90, 0x90, 0x90, 0x90, 0x90, 0x0f, 0x05]],
  ];
  for (const [name, code] of others) it(name, () => assert.equal(endsInCall(Uint8Array.from(code)), false));
});

describe('withoutCallSite', () => {
  /** In the middle of an ELF header: no call is there. */
  const returned = { address: 64n, exact: false, byPointer: false, file: process.execPath, fileOffset: 63n };
  const stack = (callee: string) => [
    { address: 1n, exact: true, byPointer: false, name: callee },
    { ...returned, name: 'main.work' },
  ];
  it('finds a return address that no call has left', () => {
    assert.equal(withoutCallSite(stack('main.callee'))?.name, 'main.work');
  });
  it('knows that a goroutine is preempted without a call', () => {
    assert.equal(withoutCallSite(stack('runtime.asyncPreempt')), undefined);
  });
  after(closeFiles);
});
