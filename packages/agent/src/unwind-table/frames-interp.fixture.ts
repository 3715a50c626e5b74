// SPDX-License-Identifier: Apache-2.0
/** The independent reading of call frame information by binutils: `readelf --debug-dump=frames-interp`. */
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { UnwindTable } from './build.ts';
import { findRule } from './lookup.ts';
import * as row from './row.ts';

const REGISTERS = ['rax', 'rdx', 'rcx', 'rbx', 'rsi', 'rdi', 'rbp', 'rsp'].concat(
  Array.from({ length: 8 }, (_, i) => `r${i + 8}`),
);
const SAVED = row.SAVED_REGISTERS.map((register) => REGISTERS[register]);

export interface Comparison {
  rows: number;
  functions: number;
  /** The first of the rows that differ, in words. */
  differences: string[];
}

/**
 * Compares each row that readelf prints for the functions of `.eh_frame` with the table's rule at the row's address.
 * The function at the ELF entry point may be RULE_ENTRY instead.
 */
export async function compareWithReadelf(path: string, table: UnwindTable, entry: number): Promise<Comparison> {
  const readelf = spawn('readelf', ['--debug-dump=frames-interp', path], { stdio: ['ignore', 'pipe', 'ignore'] });
  const result: Comparison = { rows: 0, functions: 0, differences: [] };
  let columns: string[] = [];
  let end = 0;
  let isEntry = false;
  let inEhFrame = false;
  let held: { address: number; fields: string[]; columns: string[] } | undefined;
  const check = (next: number) => {
    if (held === undefined || held.address === next) return; // of rows at one address the last counts
    const { address, fields } = held;
    const rule = findRule(table, address);
    const isRoot = isEntry && rule?.kind === row.RULE_ENTRY;
    const difference = isRoot ? '' : compareRow(held.columns, fields, rule, address);
    result.rows++;
    if (difference !== '' && result.differences.length < 10) {
      result.differences.push(`${address.toString(16)}: ${fields.join(' ')} but ${difference}`);
    } else if (difference !== '') result.differences.length++;
    held = undefined;
  };
  for await (const line of createInterface(readelf.stdout)) {
    if (line.startsWith('Contents of')) inEhFrame = line.includes('.eh_frame');
    if (!inEhFrame) continue;
    const fde = / FDE .*pc=([0-9a-f]+)\.\.([0-9a-f]+)/.exec(line);
    if (fde !== null || line.includes(' CIE ')) {
      check(-1);
      end = fde === null ? 0 : Number.parseInt(fde[2], 16);
      isEntry = fde !== null && entry >= Number.parseInt(fde[1], 16) && entry < end;
      columns = [];
      if (fde !== null) result.functions++;
    } else if (line.startsWith('   LOC')) {
      columns = line.trim().split(/\s+/).slice(1);
    } else if (columns.length > 0 && /^[0-9a-f]{16} /.test(line)) {
      // A register is printed as `r5 (rdi)`.
      const [location, ...fields] = line
        .replaceAll(/r\d+ \((\w+)\)/g, '$1')
        .trim()
        .split(/\s+/);
      const address = Number.parseInt(location, 16);
      check(address);
      if (address < end) held = { address, fields, columns };
    }
  }
  check(-1);
  return result;
}

/** '' if the rule says the same as the row. */
function compareRow(columns: string[], fields: string[], rule: row.UnwindRule | undefined, address: number): string {
  if (rule === undefined) return 'no rule';
  const field = (column: string) => {
    const index = columns.indexOf(column);
    return index < 0 ? 'u' : fields[index];
  };
  const wrong = (what: string) => `${what} of ${JSON.stringify(rule)} at ${address.toString(16)}`;
  const ra = field('ra');
  if (ra === 'u') return rule.kind === row.RULE_ROOT ? '' : wrong('kind');
  if (rule.kind === row.RULE_UNSUPPORTED) {
    const isOdd = fields.some((f) => /exp|^v|^r[a-z0-9]+$/.test(f)) || columns.includes('rsp');
    return isOdd ? '' : wrong('kind');
  }
  const cfa = field('CFA');
  if (cfa === 'exp') {
    return [row.RULE_CFA_DEREF, row.RULE_PLT, row.RULE_SIGNAL].includes(rule.kind) ? '' : wrong('kind');
  }
  const [, base, offset] = /^([a-z0-9]+)([+-]\d+)$/.exec(cfa) ?? [];
  if (REGISTERS[rule.base] !== base || rule.cfaOffset !== Number(offset)) return wrong('CFA');
  if (ra.startsWith('c')) {
    if (rule.kind !== row.RULE_CFA || 8 * rule.raOffset !== Number(ra.slice(1))) return wrong('return address');
  } else if (rule.kind !== row.RULE_RA_REGISTER || REGISTERS[rule.aux] !== ra) return wrong('return address');

  const rbp = field('rbp');
  const rbpAt = rule.rbpOffset & row.RBP_SAVED ? rule.rbpOffset - row.RBP_SAVED : 0;
  if (
    rbp.startsWith('c')
      ? rule.rbpOffset !== row.RBP_LOST && rbpAt !== Number(rbp.slice(1))
      : rbp === 's' && rule.rbpOffset !== 0
  ) {
    return wrong('rbp');
  }
  for (const [i, name] of SAVED.entries()) {
    const saved = field(name);
    const words = rule.saved[i];
    if (saved.startsWith('c')) {
      const expected = Number(saved.slice(1)) / 8;
      const fits = expected > -128 && expected < 128;
      if (words !== (fits ? expected : row.SAVED_LOST)) return wrong(name);
    } else if ((saved === 'u' || saved === 's') && words !== 0 && words !== row.SAVED_LOST) return wrong(name);
  }
  return '';
}
