// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { missingTools } from '../../test/required-tool.ts';
import { parseElf } from '../elf/file.ts';
import { bytesSource } from '../elf/source.ts';
import { isUnreadable } from './elf-symbols.ts';
import { GoSymbols } from './go-symbols.ts';

/** Prints the return addresses of its own stack, and what the Go runtime says of them. */
const PROGRAM = `package main

import "runtime"

type T struct{ n int }

func (t *T) leaf(pcs []uintptr) int { return runtime.Callers(0, pcs) }

func inlined(t *T, pcs []uintptr) int { return t.leaf(pcs) }

func generic[X any](x X, f func(X) int) int { return f(x) }

//go:noinline
func outer(pcs []uintptr) int {
	t := &T{1}
	return generic(t, func(t *T) int {
		return inlined(t, pcs)
	})
}

func main() {
	pcs := make([]uintptr, 64)
	n := outer(pcs)
	for _, pc := range pcs[:n] {
		println("pc", pc)
	}
	frames := runtime.CallersFrames(pcs[:n])
	for more := true; more; {
		var f runtime.Frame
		f, more = frames.Next()
		println("frame", f.Function, f.File, f.Line)
	}
}
`;

describe('symbols of Go programs', { skip: missingTools('go') }, () => {
  let folder: string;

  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'plumbline-go-'));
    writeFileSync(join(folder, 'main.go'), PROGRAM);
    writeFileSync(join(folder, 'go.mod'), 'module example\n\ngo 1.21\n');
    const build = (...args: string[]) => execFileSync('go', ['build', ...args, '.'], { cwd: folder, stdio: 'ignore' });
    build('-o', 'plain');
    build('-ldflags=-s -w', '-o', 'stripped');
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  const open = (name: string) => {
    const source = bytesSource(readFileSync(join(folder, name)));
    return GoSymbols.open(parseElf(source), source);
  };

  for (const name of ['plain', 'stripped']) {
    test(`${name}: functions, files, lines and inlined calls are those of the runtime`, () => {
      const text = execFileSync('sh', ['-c', `./${name} 2>&1`], { cwd: folder, encoding: 'utf8' });
      const pcs = [...text.matchAll(/^pc (\d+)$/gm)].map(([, pc]) => Number(pc));
      const frames = [...text.matchAll(/^frame (.*)$/gm)].map(([, frame]) => frame);
      assert.ok(pcs.length >= 8 && pcs.length === frames.length, text);
      const symbols = open(name)!;
      const lines = (pc: number) => symbols.linesAt(pc - 1).map((l) => `${l.name} ${l.file} ${l.line}`);
      for (const [i, pc] of pcs.entries()) assert.equal(lines(pc)[0], frames[i]);
      // All of the inlined calls around the innermost address: from runtime.Callers out to the function that has the code.
      const end = frames.findIndex((frame) => frame.startsWith('main.outer '));
      assert.ok(end >= 4, 'the compiler inlined nothing');
      assert.deepEqual(lines(pcs[0]), frames.slice(0, end + 1));
      const generic = symbols.linesAt(pcs[end - 1] - 1)[0];
      assert.deepEqual([generic.name, generic.systemName], ['main.generic[...]', 'main.generic[go.shape.*uint8]']);
    });
  }

  test('an address outside of Go code has no lines', () => {
    assert.deepEqual(open('plain')!.linesAt(0x10), []);
    assert.deepEqual(open('plain')!.linesAt(2 ** 45), []);
  });

  test('a file that is no Go program has no table', () => {
    const source = bytesSource(readFileSync(process.execPath));
    assert.equal(GoSymbols.open(parseElf(source), source), undefined);
  });

  test('damaged tables give wrong or no lines, never a crash', () => {
    const original = readFileSync(join(folder, 'stripped'));
    const file = parseElf(bytesSource(original));
    const section = file.sections.find(({ name }) => name.endsWith('gopclntab'))!;
    let seed = 99;
    const random = (limit: number) => {
      seed = (Math.imul(seed, 1_103_515_245) + 12_345) & 0x7fff_ffff;
      return (seed >>> 4) % limit;
    };
    let opened = 0;
    for (let round = 0; round < 200; round++) {
      const bytes = Buffer.from(original);
      const span = round % 2 === 0 ? 72 : section.size; // the header, or anything
      for (let edit = 0; edit < (round % 2 === 0 ? 2 : 2_000); edit++)
        bytes[section.offset + random(span)] = random(256);
      try {
        const symbols = GoSymbols.open(file, bytesSource(bytes));
        opened++;
        for (let i = 0; i < 200; i++) symbols?.linesAt(file.entry + i * 64);
      } catch (error) {
        assert.ok(isUnreadable(error), String(error));
      }
    }
    assert.ok(opened > 50, `${opened} of 200 could be opened`);
  });
});
