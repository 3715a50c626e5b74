// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { Instruction } from './x86-instruction.ts';
import * as x86 from './x86-opcodes.ts';

function decode(hex: string): Instruction {
  const bytes = Buffer.from(hex.replaceAll(' ', ''), 'hex');
  const instruction = new Instruction();
  assert.ok(instruction.decode(bytes, 0, bytes.length), hex);
  assert.equal(instruction.length, bytes.length, hex);
  return instruction;
}

/** Names of the registers in a set. */
function registers(set: number): string {
  const names = [
    'rax',
    'rdx',
    'rcx',
    'rbx',
    'rsi',
    'rdi',
    'rbp',
    'rsp',
    'r8',
    'r9',
    'r10',
    'r11',
    'r12',
    'r13',
    'r14',
    'r15',
  ];
  return names.filter((_, i) => (set >> i) & 1).join(' ');
}

describe('Instruction', () => {
  it('tells what moves rsp', () => {
    const cases: [hex: string, op: number, fields: Partial<Instruction>][] = [
      ['55', x86.OP_PUSH, { reg: 6 }],
      ['41 57', x86.OP_PUSH, { reg: 15 }],
      ['68 00 01 00 00', x86.OP_PUSH, { reg: -1 }],
      ['ff 35 11 22 33 44', x86.OP_PUSH, { reg: -1 }],
      ['ff 73 08', x86.OP_PUSH, { reg: -1 }],
      ['9c', x86.OP_PUSH, { reg: -1 }],
      ['5b', x86.OP_POP, { reg: 3 }],
      ['8f 45 f8', x86.OP_POP, { reg: -1 }],
      ['48 83 ec 18', x86.OP_ADD_RSP, { immediate: -24 }],
      ['48 83 c4 80', x86.OP_ADD_RSP, { immediate: -128 }],
      ['48 81 c4 00 01 00 00', x86.OP_ADD_RSP, { immediate: 256 }],
      ['48 8d 64 24 d8', x86.OP_LEA, { reg: 7, base: 7, displacement: -40 }],
      ['48 8d a5 78 ff ff ff', x86.OP_LEA, { reg: 7, base: 6, displacement: -136 }],
      ['4c 8d 54 24 08', x86.OP_LEA, { reg: 10, base: 7, displacement: 8 }],
      ['48 8d 04 9c', x86.OP_LEA, { reg: 0, base: -1 }],
      ['48 89 e5', x86.OP_MOVE, { reg: 6, source: 7 }],
      ['48 8b ec', x86.OP_MOVE, { reg: 6, source: 7 }],
      ['4c 89 dc', x86.OP_MOVE, { reg: 7, source: 11 }],
      ['48 8b 66 38', x86.OP_LOAD, { reg: 7, base: 4, displacement: 56 }],
      ['48 89 5c 24 e8', x86.OP_STORE, { reg: 3, base: 7, displacement: -24 }],
      ['c8 20 00 00', x86.OP_ENTER, { immediate: 32 }],
      ['c9', x86.OP_LEAVE, {}],
      ['c3', x86.OP_RET, {}],
      ['f3 c3', x86.OP_RET, {}],
      ['31 ed', x86.OP_ZERO, { reg: 6 }],
      ['48 31 ed', x86.OP_ZERO, { reg: 6 }],
    ];
    for (const [hex, op, fields] of cases) {
      const instruction = decode(hex);
      assert.equal(instruction.op, op, hex);
      for (const [name, value] of Object.entries(fields)) {
        assert.equal(instruction[name as keyof Instruction], value, `${name} of ${hex}`);
      }
    }
  });

  it('tells where control goes', () => {
    const cases: [hex: string, op: number, target: number][] = [
      ['e8 10 00 00 00', x86.OP_CALL, 21],
      ['67 e8 10 00 00 00', x86.OP_CALL, 22],
      ['ff d0', x86.OP_CALL, Number.NaN],
      ['e9 fb ff ff ff', x86.OP_JUMP, 0],
      ['eb 10', x86.OP_JUMP, 18],
      ['3e ff e0', x86.OP_JUMP, Number.NaN],
      ['f2 ff 25 00 00 00 00', x86.OP_JUMP, Number.NaN],
      ['74 fe', x86.OP_BRANCH, 0],
      ['2e 0f 85 00 01 00 00', x86.OP_BRANCH, 263],
      ['e3 04', x86.OP_BRANCH, 6],
      ['c7 f8 10 00 00 00', x86.OP_BRANCH, 22],
      ['f4', x86.OP_STOP, Number.NaN],
      ['0f 0b', x86.OP_STOP, Number.NaN],
      ['0f 05', x86.OP_SYSCALL, Number.NaN],
    ];
    for (const [hex, op, target] of cases) {
      const instruction = decode(hex);
      assert.equal(instruction.op, op, hex);
      assert.equal(instruction.target, target, hex);
    }
    assert.ok(decode('ff 25 00 00 00 00').isRipRelative);
    assert.ok(decode('ff 24 c5 00 00 00 00').isTableLoad);
    assert.ok(decode('48 63 04 81').isTableLoad);
    assert.ok(!decode('48 63 c7').isTableLoad);
  });

  it('tells which registers are written', () => {
    const cases: [hex: string, written: string][] = [
      ['b4 07', 'rax'], // mov ah: not rsp
      ['40 b4 07', 'rsp'], // mov spl
      ['b5 01', 'rcx'], // mov ch
      ['88 e3', 'rbx'], // mov bl,ah
      ['8a e3', 'rax'], // mov ah,bl
      ['01 d8', 'rax'],
      ['01 18', ''],
      ['03 18', 'rbx'],
      ['39 d8', ''], // cmp
      ['48 83 f8 08', ''], // cmp
      ['48 83 e4 f0', 'rsp'], // and
      ['48 29 c4', 'rsp'], // sub rsp,rax
      ['48 87 e3', 'rbx rsp'], // xchg
      ['48 f7 e3', 'rax rdx'],
      ['f7 c3 01 00 00 00', ''], // test
      ['f7 d3', 'rbx'],
      ['0f a2', 'rax rdx rcx rbx'], // cpuid
      ['0f 45 e8', 'rbp'], // cmovne
      ['0f b6 c4', 'rax'],
      ['0f 94 c3', 'rbx'], // sete bl
      ['66 0f 7e c5', 'rbp'], // movd
      ['0f 6e c5', ''],
      ['f3 48 0f b8 eb', 'rbp'], // popcnt
      ['c4 e2 e3 f6 e8', 'rbx rbp'], // mulx
      ['c4 e3 fb f0 eb 05', 'rbp'], // rorx
      ['48 bd 01 02 03 04 05 06 07 08', 'rbp'], // movabs
      ['f3 48 a5', 'rcx rsi rdi'],
    ];
    for (const [hex, written] of cases) assert.equal(registers(decode(hex).writes), written, hex);
  });

  it('knows the lengths of vector instructions', () => {
    for (const hex of [
      'c5 f8 77', // vzeroupper
      'c5 fd 6f 04 24',
      'c5 f9 70 c0 4e', // vpshufd
      'c4 e3 7d 39 c1 01', // vextracti128
      '62 f1 fe 48 6f 06', // vmovdqu64 zmm
      '62 f3 7d 48 3f c1 00', // vpcmpub
      '62 f1 7d 48 e7 84 24 80 00 00 00',
      '8f e8 78 c0 c1 05', // vprotb (XOP)
      '66 0f 3a 0f c1 08', // palignr
      '0f 0f c1 b7', // 3DNow
    ]) {
      decode(hex);
    }
  });

  it('recognises what fills the space between functions', () => {
    for (const hex of ['90', 'cc', '66 90', '66 2e 0f 1f 84 00 00 00 00 00', '0f 1f 40 00'])
      assert.ok(decode(hex).isPadding, hex);
    for (const hex of ['41 90', 'c3', '00 00']) assert.ok(!decode(hex).isPadding, hex);
  });

  it('refuses what is not valid, or leaves the bytes', () => {
    const instruction = new Instruction();
    for (const hex of ['06', '62', 'ea', '0f 04', 'e8 00 00', '48', '66 66 66', 'ff ff', '8f 48', 'c4 e0 00 00 00']) {
      const bytes = Buffer.from(hex.replaceAll(' ', ''), 'hex');
      assert.equal(instruction.decode(bytes, 0, bytes.length), false, hex);
      assert.equal(instruction.length, 0);
    }
  });

  it('never reads past the end and never takes more than 15 bytes', () => {
    const instruction = new Instruction();
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 24 }), (bytes) => {
        const decoded = instruction.decode(bytes, 0, bytes.length);
        assert.equal(decoded, instruction.length > 0);
        assert.ok(instruction.length <= Math.min(15, bytes.length));
        // What follows an instruction does not change it.
        if (decoded) {
          const { length, op, writes } = instruction;
          const padded = new Uint8Array(40).fill(0xff);
          padded.set(bytes.subarray(0, length));
          assert.ok(instruction.decode(padded, 0, 40));
          assert.deepEqual([instruction.length, instruction.op, instruction.writes], [length, op, writes]);
        }
      }),
      { numRuns: 5000 },
    );
  });

  const objdump = spawnSync('objdump', ['--version']).status === 0;
  it('agrees with objdump on its own code', {
    skip: objdump || process.env.CI ? false : 'no objdump',
  }, () => {
    const { stdout } = spawnSync('objdump', ['-d', '-w', '--insn-width=16', '-j', '.text', '/proc/self/exe'], {
      maxBuffer: 1 << 30,
      encoding: 'latin1',
    });
    const instruction = new Instruction();
    let count = 0;
    for (const line of stdout.split('\n')) {
      const match = /^\s*[0-9a-f]+:\t((?:[0-9a-f]{2} )+)\s*\t?(\S.*)$/.exec(line);
      if (match === null || /\(bad\)|^(rex|\.byte|data16|repz?$|repnz$|lock$|[c-g]s$|addr32$)/.test(match[2])) continue;
      const bytes = Buffer.from(match[1].replaceAll(' ', ''), 'hex');
      instruction.decode(bytes, 0, bytes.length);
      // A far return or the like is data that objdump takes for code; `fwait` it joins with what follows.
      if (/^[lr]*(ret|iret|jmp|call)[lqw]?\b/.test(match[2]) || match[1].startsWith('9b')) continue;
      assert.equal(instruction.length, bytes.length, line);
      count++;
    }
    assert.ok(count > 10_000, `${count} instructions`);
  });
});
