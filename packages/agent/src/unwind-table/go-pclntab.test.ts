// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { describe, it } from 'node:test';
import { elfImage } from '../elf/elf-image.fixture.ts';
import { parseElf, readAddress, SHF_ALLOC, SHF_EXECINSTR } from '../elf/file.ts';
import { FUNC_FLAG_ASM, openGoPclntab } from '../elf/go-pclntab.ts';
import { bytesSource } from '../elf/source.ts';
import { buildUnwindTable } from './build.ts';
import { little, uleb } from './call-frame.fixture.ts';
import { CodeAnalysis } from './code-analysis.ts';
import { findRule } from './lookup.ts';
import * as row from './row.ts';

const TEXT = 0x40_1000;

interface GoFunction {
  name: string;
  code: string;
  size: number;
  flag?: number;
  /** Depth of the stack from an offset on. */
  depths: [from: number, depth: number][];
}

/** A function table of Go 1.20 (magic fffffff1) or of 1.16 (fffffffa), as src/cmd/link/internal/ld/pcln.go lays it out. */
function pclntab(functions: GoFunction[], is116: boolean): Uint8Array {
  const names: number[] = [];
  const pcTable = [0];
  const records: number[][] = [];
  const field = is116 ? 8 : 4;
  let entry = 0;
  for (const { name, size, depths, flag = 0 } of functions) {
    const pcsp = pcTable.length;
    let last = -1;
    for (const [i, [from, depth]] of depths.entries()) {
      const delta = depth - last;
      pcTable.push(...uleb(delta < 0 ? -2 * delta - 1 : 2 * delta), ...uleb((depths[i + 1]?.[0] ?? size) - from));
      last = depth;
    }
    pcTable.push(0);
    const fixed = [names.length, 0, 0, pcsp, 0, 0, 0, 0, ...(is116 ? [] : [0])].flatMap((value) => little(value, 4));
    records.push([...little(is116 ? TEXT + entry : entry, field), ...fixed, 0, flag, 0, 0]);
    names.push(...Buffer.from(`${name}\0`));
    entry += size;
  }
  const headerSize = 72;
  const nameTable = headerSize;
  const pcTableAt = nameTable + names.length;
  const table = pcTableAt + pcTable.length;
  const offsets = is116 ? [nameTable, 0, 0, pcTableAt, table] : [TEXT, nameTable, 0, 0, pcTableAt, table];
  const header = [...little(is116 ? 0xfffffffa : 0xfffffff1, 4), 0, 0, 1, 8];
  header.push(...[functions.length, 0, ...offsets].flatMap((value) => little(value, 8)));
  while (header.length < headerSize) header.push(0);

  const index: number[] = [];
  let at = (functions.length * 2 + 1) * field;
  let start = is116 ? TEXT : 0;
  for (const [i, record] of records.entries()) {
    index.push(...little(start, field), ...little(at, field));
    at += record.length;
    start += functions[i].size;
  }
  index.push(...little(start, field));
  return Uint8Array.from([...header, ...names, ...pcTable, ...index, ...records.flat()]);
}

function build(functions: GoFunction[], is116 = false) {
  const code = new Uint8Array(functions.reduce((sum, f) => sum + f.size, 0)).fill(0xcc);
  let at = 0;
  for (const f of functions) {
    code.set(Buffer.from(f.code.replaceAll(/\s/g, ''), 'hex'), at);
    at += f.size;
  }
  const sections = [
    { name: '.text', flags: SHF_ALLOC | SHF_EXECINSTR, address: TEXT, bytes: code },
    { name: '.gopclntab', flags: SHF_ALLOC, address: 0x50_0000, bytes: pclntab(functions, is116) },
  ];
  const source = bytesSource(elfImage({ sections }));
  const table = buildUnwindTable(parseElf(source), source);
  return (offset: number) => {
    const { kind, base, cfaOffset, rbpOffset } = findRule(table, TEXT + offset)!;
    return kind === row.RULE_CFA ? [base, cfaOffset, rbpOffset] : kind;
  };
}

const { REG_RSP, REG_RBP } = row;

describe('GoLayer', () => {
  it('takes the CFA from the depth, and rbp from below the return address', () => {
    const framed = {
      name: 'main.f',
      code: '55 48 89 e5 48 83 ec 20 90 90 90 90 48 83 c4 20 5d c3',
      size: 32,
      depths: [[0, 0], [1, 8], [8, 40], [16, 8], [17, 0]] as [number, number][],
    }; // biome-ignore format: pairs
    const leaf = { name: 'main.leaf', code: '90 c3', size: 16, depths: [[0, 0]] as [number, number][] };
    for (const is116 of [false, true]) {
      const rule = build([framed, leaf], is116);
      assert.deepEqual(rule(0), [REG_RSP, 8, 0]);
      assert.deepEqual(rule(1), [REG_RSP, 16, -15]);
      assert.deepEqual(rule(8), [REG_RSP, 48, -15]);
      assert.deepEqual(rule(16), [REG_RSP, 16, -15]);
      assert.deepEqual(rule(17), [REG_RSP, 8, 0]);
      assert.deepEqual(rule(33), [REG_RSP, 8, 0]);
    }
  });

  it('knows when rbp is saved in frames of Go before 1.21', () => {
    const depths: [number, number][] = [[0, 0], [4, 32], [22, 0]]; // biome-ignore format: pairs
    const old = '48 83 ec 20 48 89 6c 24 18 48 8d 6c 24 18 90 90 90 90 48 83 c4 20 c3';
    const rule = build([{ name: 'main.f', code: old, size: 32, depths }]);
    assert.deepEqual(rule(4), [REG_RSP, 40, 0], 'not saved yet');
    assert.deepEqual(rule(9), [REG_RSP, 40, -15]);
    const bare = build([{ name: 'main.f', code: '48 83 ec 20 90', size: 32, depths }]);
    assert.deepEqual(bare(9), [REG_RSP, 40, 0], 'never saved');
  });

  const asm = (name: string, code: string, depths: [number, number][] = [[0, 0]]): GoFunction => ({
    name,
    code,
    size: 48,
    flag: FUNC_FLAG_ASM,
    depths,
  });

  it('ends walks at the top frames of goroutines and threads', () => {
    const rule = build(
      ['runtime.goexit.abi0', 'runtime.mstart.abi0', 'runtime.rt0_go', '_rt0_amd64_linux'].map((name) =>
        asm(name, '90'),
      ),
    );
    for (const at of [1, 49, 97, 145]) assert.equal(rule(at), row.RULE_ENTRY);
  });

  it('goes on at rbp where the stack is switched, and by the table where it is back', () => {
    const systemstack = `
      55 48 89 e5 48 8b 62 38 ff d7
      48 8b 60 38 48 8b 68 60 5d c3`;
    const rule = build([asm('runtime.systemstack.abi0', systemstack, [[0, 0], [1, 8], [19, 0]])]); // biome-ignore format: pairs
    assert.deepEqual(rule(1), [REG_RSP, 16, -15]);
    assert.equal(rule(8), row.RULE_GO_SWITCH);
    assert.equal(rule(9), row.RULE_GO_SWITCH, 'the call');
    assert.deepEqual(rule(19), [REG_RSP, 8, 0]);
  });

  it('does so before Go 1.21, where it has no frame of its own', () => {
    const rule = build([asm('runtime.systemstack', '48 8b 62 38 ff d7 48 8b 60 38 c3')], true);
    assert.deepEqual(rule(0), [REG_RSP, 8, 0]);
    assert.equal(rule(5), row.RULE_GO_SWITCH);
    assert.deepEqual(rule(10), [REG_RSP, 8, 0]);
  });

  it('ends walks where the runtime leaves a stack for good', () => {
    const mcall = '55 48 89 e5 49 8b 66 38 48 c7 c5 00 00 00 00 50 41 ff d4 90';
    const rule = build([asm('runtime.mcall', mcall, [[0, 0], [1, 8]]), asm('runtime.clone.abi0', '0f 05 48 89 f4 ff d0')]); // biome-ignore format: pairs
    assert.deepEqual(rule(4), [REG_RSP, 16, -15]);
    assert.equal(rule(18), row.RULE_ENTRY);
    assert.deepEqual(rule(48), [REG_RSP, 8, 0]);
    assert.equal(rule(54), row.RULE_ENTRY, 'the child');
  });

  it('knows signal trampolines, from the byte before them on', () => {
    const rule = build([
      asm('main.f', '90 c3'),
      asm('runtime.sigreturn__sigaction.abi0', '48 c7 c0 0f 00 00 00 0f 05'),
    ]);
    assert.deepEqual([rule(47), rule(48)], [row.RULE_SIGNAL, row.RULE_SIGNAL]);
  });

  it('agrees with the code of a real program', (t) => {
    const esbuild = createRequire(import.meta.resolve('esbuild')).resolve('@esbuild/linux-x64/bin/esbuild');
    const source = bytesSource(readFileSync(esbuild));
    const file = parseElf(source);
    const functions = openGoPclntab(file, source)!;
    const table = buildUnwindTable(file, source);
    const rules = new row.RuleSet();
    const analysis = new CodeAnalysis(rules);
    let compared = 0;
    for (let i = 0; i < functions.count; i += 5) {
      functions.select(i);
      const { entry, end } = functions;
      if (end - entry > 1 << 16) continue;
      const check = (start: number, _end: number, number: number) => {
        const known = analysis.registerAt(start - entry, REG_RSP);
        const rule = findRule(table, start)!;
        if (rule.kind !== row.RULE_CFA || rule.base !== REG_RSP || Number.isNaN(known)) return;
        assert.equal(rule.cfaOffset, -known, `${functions.name()} at ${start.toString(16)}`);
        const { rbpOffset, base } = rules.rule(number);
        if (base !== REG_RBP)
          assert.equal(rule.rbpOffset, rbpOffset, `rbp in ${functions.name()} at ${start.toString(16)}`);
        compared++;
      };
      analysis.analyze(
        readAddress(file, source, entry, end - entry),
        entry,
        { entries: [0] },
        { add: check },
        () => {},
      );
    }
    t.diagnostic(`${compared} rows of ${functions.count} functions compared`);
    assert.ok(compared > 10_000);
  });
});
