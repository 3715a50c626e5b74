// SPDX-License-Identifier: Apache-2.0
/** Code that every C library has and that has no unwind information: GCC's crtstuff.c. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { it } from 'node:test';
import { missingTools } from '../../test/required-tool.ts';
import { findSection, parseElf } from '../elf/file.ts';
import { bytesSource } from '../elf/source.ts';
import { buildUnwindTable } from './build.ts';
import { findRule } from './lookup.ts';
import { RBP_SAVED, REG_RSP, RULE_CFA } from './row.ts';

it('destructors of a stripped library are followed from their first instruction on', {
  skip: missingTools('gcc'),
}, (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'plumbline-start-files-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const path = join(directory, 'library.so');
  writeFileSync(join(directory, 'library.c'), 'int answer(void) { return 42; }\n');
  execFileSync('gcc', ['-O2', '-shared', '-fPIC', '-s', '-o', path, join(directory, 'library.c')]);
  const bytes = readFileSync(path);
  const file = parseElf(bytesSource(bytes));
  const table = buildUnwindTable(file, bytesSource(bytes));
  const array = findSection(file, '.fini_array');
  assert.ok(array);
  const destructor = Number(bytes.readBigUInt64LE(array.offset)); // __do_global_dtors_aux
  const first = findRule(table, destructor);
  assert.deepEqual([first?.kind, first?.base, first?.cfaOffset, first?.rbpOffset], [RULE_CFA, REG_RSP, 8, 0]);

  const push = destructor + bytes.subarray(destructor, destructor + 32).indexOf(0x55); // push rbp
  const pushed = findRule(table, push + 1);
  assert.deepEqual([pushed?.kind, pushed?.cfaOffset, (pushed?.rbpOffset ?? 0) & RBP_SAVED], [RULE_CFA, 16, RBP_SAVED]);

  // The last section, a few bytes behind the last function: not its padding.
  const fini = findSection(file, '.fini');
  assert.ok(fini);
  assert.equal(findRule(table, fini.address)?.cfaOffset, 8);
  const subtract = bytes.subarray(fini.offset, fini.offset + fini.size).indexOf('4883ec08', 0, 'hex'); // sub rsp,8
  assert.equal(findRule(table, fini.address + subtract + 4)?.cfaOffset, 16);
});
