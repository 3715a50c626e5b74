// SPDX-License-Identifier: Apache-2.0
/** On the files that this process has mapped: the two ways to a description, and the two readings of it, agree. */
import assert from 'node:assert/strict';
import { closeSync, openSync } from 'node:fs';
import { after, describe, it } from 'node:test';
import { findSection, parseElf } from '../elf/file.ts';
import { fileSource } from '../processes/file-source.ts';
import { readMaps } from '../processes/proc-fs.ts';
import { buildUnwindTable } from '../unwind-table/build.ts';
import { findRule } from '../unwind-table/lookup.ts';
import * as abi from '../unwind-table/row.ts';
import { SectionWindow } from '../unwind-table/section-window.ts';
import { RETURN_ADDRESS, type Row, rowAt } from './call-frame-row.ts';
import { type FrameDescription, FrameDescriptions, openEhFrames } from './frame-description.ts';

const libraries = [...new Set((readMaps(process.pid) ?? []).map(({ path }) => path))].filter((path) =>
  /\.so/.test(path),
);
/** Addresses that are looked at in each file. */
const PROBES = 20_000;

describe('call frame information of real files', () => {
  const opened: number[] = [];
  after(() => opened.forEach((fd) => void closeSync(fd)));
  it('there are some', () => assert.ok(libraries.length > 0));

  for (const path of libraries) {
    it(path, () => {
      const fd = openSync(path, 'r');
      opened.push(fd);
      const source = fileSource(fd);
      const file = parseElf(source);
      const section = findSection(file, '.eh_frame');
      const text = findSection(file, '.text');
      const bySearch = openEhFrames(file, source);
      assert.ok(section && text && bySearch);
      const window = new SectionWindow(source, section.offset, section.size, section.address);
      const byIndex = new FrameDescriptions(window, { isEh: true });
      const table = buildUnwindTable(file, source);
      let described = 0;
      const step = Math.max(1, Math.floor(text.size / PROBES));
      for (let address = text.address; address < text.address + text.size; address += step) {
        const description: FrameDescription | undefined = bySearch.find(address);
        const other = byIndex.find(address);
        assert.equal(description?.start, other?.start, address.toString(16));
        assert.equal(description?.end, other?.end, address.toString(16));
        if (!description) continue;
        described++;
        const row = rowAt(description, address);
        const rule = findRule(table, address);
        assert.ok(row && rule, address.toString(16));
        assertSame(row, rule, address);
      }
      assert.ok(described > 100 || text.size < 4096);
    });
  }
});

/** Where the kernel side's rule is of the plain form, it must say what the row says. */
function assertSame(row: Row, rule: abi.UnwindRule, address: number): void {
  const at = address.toString(16);
  const ra = row.registers[RETURN_ADDRESS];
  assert.equal(rule.kind === abi.RULE_ROOT, ra?.kind === 'undefined', at);
  if (rule.kind !== abi.RULE_CFA) return;
  assert.deepEqual(row.cfa, { kind: 'register', register: rule.base, offset: BigInt(rule.cfaOffset) }, at);
  assert.deepEqual(ra, { kind: 'offset', offset: BigInt(8 * rule.raOffset) }, at);
  const saved = [...abi.SAVED_REGISTERS.entries()].map(([i, register]) => [register, 8 * rule.saved[i]] as const);
  const rbp = rule.rbpOffset & abi.RBP_SAVED ? rule.rbpOffset & ~abi.RBP_SAVED : 0;
  for (const [register, offset] of [...saved, [abi.REG_RBP, rbp] as const]) {
    if (offset === 8 * abi.SAVED_LOST || rule.rbpOffset === abi.RBP_LOST) continue;
    const expected = offset === 0 ? undefined : { kind: 'offset', offset: BigInt(offset) };
    assert.deepEqual(row.registers[register], expected, `${at}, register ${register}`);
  }
}
