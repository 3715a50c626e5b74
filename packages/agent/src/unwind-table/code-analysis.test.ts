// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { CodeAnalysis, type UnitOfCode } from './code-analysis.ts';
import * as row from './row.ts';

/** Assembles hex, comments after `;`, blanks ignored. */
function assemble(source: string): Uint8Array {
  return Buffer.from(source.replaceAll(/;.*/g, '').replaceAll(/\s/g, ''), 'hex');
}

/** What differs from `CFA = rsp + 8`, by offset; `none` where nothing is proved. */
function analyze(source: string, unit: Partial<UnitOfCode> = {}): Record<number, string> {
  const rules = new row.RuleSet();
  const analysis = new CodeAnalysis(rules);
  const result: Record<number, string> = {};
  analysis.analyze(
    assemble(source),
    0x1000,
    { entries: [0], ...unit },
    {
      add(start, _end, number) {
        const rule = rules.rule(number);
        const names: Record<number, string> = { 0: 'rax', 3: 'rbx', 6: 'rbp', 7: 'rsp', 10: 'r10', 12: 'r12' };
        const parts = [`${names[rule.base]}+${rule.cfaOffset}`];
        if (rule.kind === row.RULE_ENTRY) parts[0] = 'entry';
        if (rule.kind === row.RULE_RA_REGISTER) parts.push(`ra r${rule.aux}`);
        if (rule.rbpOffset === row.RBP_LOST) parts.push('rbp lost');
        else if (rule.rbpOffset !== 0) parts.push(`rbp ${rule.rbpOffset & ~1}`);
        for (const [i, word] of rule.saved.entries()) {
          if (word !== 0) parts.push(`${['rbx', 'r12', 'r13', 'r14', 'r15'][i]} ${word === -128 ? 'lost' : 8 * word}`);
        }
        result[start - 0x1000] = parts.join(' ');
      },
    },
    (from) => {
      result[from - 0x1000] = 'none';
    },
  );
  return result;
}

describe('CodeAnalysis', () => {
  it('follows pushes, pops and the space of locals', () => {
    assert.deepEqual(
      analyze(`
        53           ; push rbx
        48 83 ec 20  ; sub rsp,32
        e8 00 10 00 00
        48 83 c4 20
        5b
        c3`),
      { 0: 'rsp+8', 1: 'rsp+16 rbx -16', 5: 'rsp+48 rbx -16', 14: 'rsp+16 rbx -16', 15: 'rsp+8' },
    );
  });

  it('keeps to rbp where rsp is not known', () => {
    assert.deepEqual(
      analyze(`
        55           ; push rbp
        48 89 e5     ; mov rbp,rsp
        48 29 fc     ; sub rsp,rdi
        48 89 e7     ; mov rdi,rsp
        c9           ; leave
        c3`),
      { 0: 'rsp+8', 1: 'rsp+16 rbp -16', 7: 'rbp+16 rbp -16', 11: 'rsp+8' },
    );
  });

  it('finds frames that are realigned, before and after', () => {
    assert.deepEqual(
      analyze(`
        4c 8d 54 24 08 ; lea r10,[rsp+8]
        48 83 e4 e0    ; and rsp,-32
        41 ff 72 f8    ; push [r10-8]
        c3`),
      { 0: 'rsp+8', 9: 'r10+0' },
    );
  });

  it('sees registers saved and restored by moves', () => {
    assert.deepEqual(
      analyze(`
        48 83 ec 18       ; sub rsp,24
        48 89 1c 24       ; mov [rsp],rbx
        4c 89 64 24 08    ; mov [rsp+8],r12
        31 db             ; xor ebx,ebx
        48 8b 1c 24
        4c 8b 64 24 08
        48 83 c4 18
        c3`),
      {
        0: 'rsp+8',
        4: 'rsp+32',
        8: 'rsp+32 rbx -32',
        13: 'rsp+32 rbx -32 r12 -24',
        19: 'rsp+32 r12 -24',
        24: 'rsp+32',
        28: 'rsp+8',
      },
    );
  });

  it('loses registers that are written without being saved', () => {
    assert.deepEqual(analyze('31 db 90 c3'), { 0: 'rsp+8', 2: 'rsp+8 rbx lost' });
    assert.deepEqual(analyze('bd 01 00 00 00 90 c3'), { 0: 'rsp+8', 5: 'rsp+8 rbp lost' });
  });

  it('follows both ways of a branch', () => {
    assert.deepEqual(
      analyze(`
        85 ff        ; test edi,edi
        74 03        ; jz +3
        50           ; push rax
        58           ; pop rax
        c3
        c3`),
      { 0: 'rsp+8', 5: 'rsp+16', 6: 'rsp+8' },
    );
  });

  it('proves nothing where a return is at another depth', () => {
    assert.deepEqual(analyze('50 c3'), { 0: 'none' });
  });

  it('has no rule where two ways with different depths meet', () => {
    const rules = analyze(`
        85 ff
        74 01        ; jz over the push
        50           ; push rax
        90
        eb fd        ; loop`);
    assert.equal(rules[5], 'none');
  });

  it('takes a call for one that does not return, if what follows contradicts it', () => {
    assert.deepEqual(
      analyze(`
        85 ff           ; test edi,edi
        74 06           ; jz L
        50              ; push rax
        e8 00 10 00 00  ; call abort
     ;L:
        c3`),
      { 0: 'rsp+8', 5: 'rsp+16', 10: 'rsp+8' },
    );
  });

  it('takes blocks that nothing reaches for the cases of a switch', () => {
    const rules = analyze(`
        53              ; push rbx
        48 63 04 ba     ; movslq (%rdx,%rdi,4),%rax
        48 01 d0        ; add rax,rdx
        ff e0           ; jmp rax
        90
        5b              ; a case
        c3
        5b              ; another
        c3`);
    assert.deepEqual(rules, {
      0: 'rsp+8',
      1: 'rsp+16 rbx -16',
      11: 'rsp+16 rbx -16',
      12: 'rsp+8',
      13: 'rsp+16 rbx -16',
      14: 'rsp+8',
    });
  });

  it('does not take what follows an indirect tail call for its cases', () => {
    assert.deepEqual(analyze('ff e0 50 58 c3'), { 0: 'rsp+8', 2: 'none' });
  });

  it('knows entry code by its clearing rbp', () => {
    const clone = analyze(`
        0f 05        ; syscall
        85 c0        ; test eax,eax
        75 08        ; jnz parent
        31 ed        ; xor ebp,ebp
        5f           ; pop rdi
        41 ff d1     ; call r9
        0f 0b
     ;parent:
        c3`);
    assert.deepEqual(clone, { 0: 'rsp+8', 8: 'entry', 14: 'rsp+8' });
    assert.deepEqual(analyze('90 ff d0 f4', { isEntryCode: true }), { 0: 'entry' });
  });

  it('follows a return address through a register', () => {
    assert.deepEqual(analyze('5f 0f 05 57 c3'), { 0: 'rsp+8', 1: 'rsp+0 ra r5', 4: 'rsp+8' });
  });

  it('expects callees of V8 to pop arguments and to keep only rbp', () => {
    const code = `
        55
        48 89 e5
        e8 00 10 00 00
        48 89 ec     ; mov rsp,rbp
        5d
        59           ; pop rcx
        48 8d 24 dc  ; lea rsp,[rsp+rbx*8]
        51           ; push rcx
        c3`;
    const lost = 'rbx lost r12 lost r13 lost r14 lost r15 lost';
    assert.deepEqual(analyze(code, { calleesPop: true }), {
      0: 'rsp+8',
      1: 'rsp+16 rbp -16',
      4: 'rbp+16 rbp -16',
      9: `rbp+16 rbp -16 ${lost}`,
      13: `rsp+8 ${lost}`,
      14: `rsp+0 ra r2 ${lost}`,
      19: `rsp+8 ${lost}`,
    });
  });

  it('reports where a frame leads out of the unit, and tail calls', () => {
    const analysis = new CodeAnalysis(new row.RuleSet());
    const run = (source: string) => analysis.analyze(assemble(source), 0, { entries: [0] }, { add() {} }, () => {});
    assert.equal(run('50 74 10 58 c3').escape, 19);
    assert.equal(run('53 31 db').escape, 3, 'it goes on behind the end');
    assert.equal(run('50 e8 00 00 00 00').escape, 0, 'a call at the end does not return');
    assert.deepEqual(run('74 10 e9 f0 ff ff ff').tailCalls.toSorted(), [-9, 18]);
  });

  it('gives rules or none for any bytes, in order, in bounded time', () => {
    const rules = new row.RuleSet();
    const analysis = new CodeAnalysis(rules);
    const op = fc.constantFrom(
      '55',
      '5d',
      '53',
      '5b',
      '4889e5',
      'c9',
      'c3',
      '7404',
      'ebfa',
      '4883ec10',
      '4883c410',
      'ffd0',
      'ffe0',
      '90',
      '4829fc',
    );
    const code = fc.oneof(
      fc.uint8Array({ minLength: 1, maxLength: 200 }),
      fc.array(op, { minLength: 1, maxLength: 60 }).map((list) => Uint8Array.from(Buffer.from(list.join(''), 'hex'))),
    );
    fc.assert(
      fc.property(code, fc.boolean(), (bytes, calleesPop) => {
        let at = 0;
        const take = (start: number, end: number) => {
          assert.ok(start >= at && end > start && end <= bytes.length);
          at = end;
        };
        analysis.analyze(bytes, 0, { entries: [0], calleesPop }, { add: take }, take);
      }),
      { numRuns: 3000 },
    );
  });
});
