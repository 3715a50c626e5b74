// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { missingTools } from '../../test/required-tool.ts';
import { BackgroundWork } from '../background-work.ts';
import { FrameSymbolizer, type SymbolizedFile } from './frame-symbolizer.ts';

const SOURCE = (seed: number) => `
namespace shop { struct Basket { int __attribute__((noinline)) total(int x) { return x * ${seed}; } }; }
int main(int argc, char **) { return shop::Basket().total(argc); }
`;

/** The names that this file needs, without the addon. */
const demangleCxx = (names: readonly string[]) =>
  names.map((name) => (name === '_ZN4shop6Basket5totalEi' ? 'shop::Basket::total(int)' : null));

describe('names of frames', { skip: missingTools('g++', 'nm') }, () => {
  let folder: string;
  const files: SymbolizedFile[] = [];
  let total: number;

  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'plumbline-frames-'));
    for (const seed of [3, 5]) {
      writeFileSync(join(folder, `${seed}.cc`), SOURCE(seed));
      const path = join(folder, `program-${seed}`);
      execFileSync('g++', ['-O1', '-o', path, join(folder, `${seed}.cc`)]);
      files.push({ path, fd: openSync(path, 'r'), buildIds: { gnu: '', go: '' } });
    }
    const symbols = execFileSync('nm', [files[0].path], { encoding: 'utf8' });
    total = Number.parseInt(/^([0-9a-f]+) W _ZN4shop6Basket5totalEi$/m.exec(symbols)![1], 16);
  });
  after(() => {
    for (const { fd } of files) closeSync(fd);
    rmSync(folder, { recursive: true, force: true });
  });

  test('of files: demangled, with the name of the symbol table; unknown where nothing is', async () => {
    const symbolizer = new FrameSymbolizer({ demangleCxx });
    await symbolizer.prepare(files, []);
    const expected = {
      kind: 'native',
      lines: [{ name: 'shop::Basket::total(int)', systemName: '_ZN4shop6Basket5totalEi' }],
    };
    assert.deepEqual(symbolizer.inFile(files[0], total), expected);
    assert.equal(symbolizer.inFile(files[0], total), symbolizer.inFile(files[0], total), 'looked up once');
    assert.deepEqual(symbolizer.inFile(files[0], 2), { kind: 'native', lines: [] });
    assert.deepEqual(symbolizer.inFile({ ...files[0] }, total), { kind: 'native', lines: [] }, 'not prepared');
    assert.equal(symbolizer.statistics.files, 2);
    symbolizer.close();
  });

  test('large tables are read on a thread, with the same result', async () => {
    const node: SymbolizedFile = {
      path: process.execPath,
      fd: openSync(process.execPath, 'r'),
      buildIds: { gnu: '', go: '' },
    };
    const background = new BackgroundWork();
    const symbolizer = new FrameSymbolizer({
      demangleCxx,
      readLarge: (request) => background.readSymbols(request),
    });
    try {
      await symbolizer.prepare([node, files[0]], []);
      const symbols = execFileSync('sh', ['-c', `nm ${node.path} | grep -E ' T (uv_run|napi_create_object)$'`], {
        encoding: 'utf8',
      });
      for (const [, address, name] of symbols.matchAll(/^([0-9a-f]+) T (.*)$/gm)) {
        assert.equal(symbolizer.inFile(node, Number.parseInt(address, 16) + 4).lines[0]?.name, name);
      }
      assert.ok(symbols.length > 40);
      assert.ok(symbolizer.statistics.bytes > 100_000);
    } finally {
      symbolizer.close();
      await background.close();
      closeSync(node.fd);
    }
  });

  test('tables that are not used make room, and come back when they are', async () => {
    const symbolizer = new FrameSymbolizer({ demangleCxx, maxBytes: 1 });
    await symbolizer.prepare([files[0]], []);
    await symbolizer.prepare([files[1]], []);
    assert.deepEqual([symbolizer.statistics.files, symbolizer.statistics.evictions], [1, 1]);
    assert.deepEqual(symbolizer.inFile(files[0], total).lines, []);
    await symbolizer.prepare([files[0]], []);
    assert.equal(symbolizer.inFile(files[0], total).lines.length, 1);
    symbolizer.close();
  });

  test('a file that is none is counted and has no names', async () => {
    const text = join(folder, 'text');
    writeFileSync(text, 'no ELF');
    const file: SymbolizedFile = { path: text, fd: openSync(text, 'r'), buildIds: { gnu: '', go: '' } };
    const symbolizer = new FrameSymbolizer({ demangleCxx });
    await symbolizer.prepare([file], []);
    assert.deepEqual(symbolizer.inFile(file, 0x1000), { kind: 'native', lines: [] });
    assert.equal(symbolizer.statistics.failures, 1);
    closeSync(file.fd);
    symbolizer.close();
  });

  test('of the kernel and of JIT code, from a /proc of its own', async () => {
    const proc = join(folder, 'proc');
    mkdirSync(join(proc, '7/root/tmp'), { recursive: true });
    writeFileSync(join(proc, '7/status'), `Uid:\t${process.getuid?.()}\nNSpid:\t7\n`);
    writeFileSync(join(proc, '7/root/tmp/perf-7.map'), '1000 10 LazyCompile:*render page.js:3\n');
    writeFileSync(join(proc, 'kallsyms'), 'ffffffff81000000 T do_exit\nffffffff81000100 T other\n');
    const symbolizer = new FrameSymbolizer({ demangleCxx, procFolder: proc });
    const image = { tgid: 7, mappings: [] };
    await symbolizer.prepare([], [image, { tgid: 8, mappings: [] }]);
    assert.deepEqual(symbolizer.inMemory(image, 0x1008).lines, [{ name: 'LazyCompile:*render page.js:3' }]);
    assert.deepEqual(symbolizer.inMemory(image, 0x2000).lines, []);
    assert.deepEqual(symbolizer.inKernel(0xffff_ffff_8100_0004n), { kind: 'kernel', lines: [{ name: 'do_exit' }] });
    assert.deepEqual(symbolizer.inKernel(1n), { kind: 'kernel', lines: [] });
    symbolizer.close();
  });
});
