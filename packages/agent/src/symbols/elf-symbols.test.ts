// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  closeSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { missingTools } from '../../test/required-tool.ts';
import { readDebugLink } from '../elf/debug-link.ts';
import { parseElf } from '../elf/file.ts';
import { readBuildIds } from '../elf/notes.ts';
import { bytesSource } from '../elf/source.ts';
import { fileSource } from '../processes/file-source.ts';
import { openDebugFile } from './debug-files.ts';
import { ElfSymbolTable, isUnreadable, readElfSymbols } from './elf-symbols.ts';
import { readSymbolFiles, unxz } from './symbol-files.ts';

const PROGRAM = `
#include <stdio.h>
static int __attribute__((noinline)) local_function(int x) { return x * 3 + getchar(); }
int __attribute__((noinline)) exported_function(int x) { return local_function(x) + 1; }
int alias_function(int x) __attribute__((alias("exported_function")));
int __weak_function(int x) __attribute__((weak, alias("exported_function")));
__asm__(".globl asm_label\\nasm_label:\\n nop\\n nop\\n ret\\n");
int main(int argc, char **argv) { return exported_function(argc) + alias_function(argc); }
`;

const skip = missingTools('gcc', 'nm', 'objcopy', 'objdump', 'strip', 'xz');

describe('symbols of ELF files', { skip }, () => {
  let folder: string;
  const file = (name: string) => join(folder, name);
  const run = (command: string, ...args: string[]) => execFileSync(command, args, { cwd: folder, encoding: 'utf8' });

  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'plumbline-symbols-'));
    writeFileSync(file('p.c'), PROGRAM);
    run('gcc', '-O1', '-g', '-rdynamic', '-Wl,--build-id', '-o', 'p', 'p.c');
    copyFileSync(file('p'), file('stripped'));
    run('strip', 'stripped');
    run('objcopy', '--only-keep-debug', 'p', 'p.debug');
    copyFileSync(file('stripped'), file('linked'));
    run('objcopy', '--add-gnu-debuglink=p.debug', 'linked');
    // Fedora's mini debug info: the symbol table alone, compressed, as a section.
    run('objcopy', '--strip-debug', 'p.debug', 'mini');
    run('xz', '--keep', '--format=xz', 'mini');
    copyFileSync(file('stripped'), file('with-mini'));
    run('objcopy', '--add-section', '.gnu_debugdata=mini.xz', 'with-mini');
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  /** Functions by address, as nm tells them. */
  function truth(): Map<number, Set<string>> {
    const functions = new Map<number, Set<string>>();
    for (const line of run('nm', 'p').split('\n')) {
      const [, address, name] = /^([0-9a-f]{16}) [TtWw] (.*)$/.exec(line) ?? [];
      if (address === undefined || name === 'data_start') continue;
      const at = Number.parseInt(address, 16);
      const known = functions.get(at) ?? new Set();
      functions.set(at, known.add(name));
    }
    return functions;
  }

  const addressOf = (name: string) => [...truth()].find(([, names]) => names.has(name))![0];

  const source = (name: string) => bytesSource(readFileSync(file(name)));

  async function tableOf(name: string, debug?: string): Promise<ElfSymbolTable> {
    const sources = { file: source(name), debugFile: debug === undefined ? undefined : source(debug) };
    return new ElfSymbolTable(await readElfSymbols({ ...sources, unxz }), sources);
  }

  test('every function of a symbol table is found at its first byte', async () => {
    const table = await tableOf('p');
    for (const [address, names] of truth()) {
      const name = table.nameAt(address);
      assert.ok(name !== undefined && names.has(name), `${address.toString(16)}: ${name}, expected ${[...names]}`);
    }
    assert.equal(table.nameAt(addressOf('main') + 1), 'main');
    assert.equal(table.nameAt(0), undefined);
    assert.equal(table.nameAt(2 ** 40), undefined);
  });

  test('of aliases the name that people know', async () => {
    const table = await tableOf('p');
    assert.equal(table.nameAt(addressOf('exported_function')), 'exported_function');
  });

  test('a label of hand-written assembly counts as a function', async () => {
    assert.equal((await tableOf('p')).nameAt(addressOf('asm_label') + 1), 'asm_label');
  });

  test('the entry code of a stripped program has a name, a library has no entry code', async () => {
    run('gcc', '-O1', '-s', '-o', 'sealed', 'p.c');
    run('gcc', '-O1', '-s', '-shared', '-fPIC', '-o', 'library', 'p.c');
    const { entry } = parseElf(source('sealed'));
    const sealed = await tableOf('sealed');
    assert.equal(sealed.nameAt(entry), '_start');
    assert.equal(sealed.nameAt(entry + 0x25), '_start', 'its last instruction');
    const library = readFileSync(file('library'));
    library.writeBigUInt64LE(BigInt(addressOf('local_function')), 24); // e_entry
    writeFileSync(file('library'), library);
    assert.notEqual((await tableOf('library')).nameAt(addressOf('local_function')), '_start');
  });

  test('stripped, a file has its exported functions only', async () => {
    const table = await tableOf('stripped');
    assert.equal(table.nameAt(addressOf('exported_function')), 'exported_function');
    assert.equal(table.nameAt(addressOf('local_function')), undefined);
  });

  test('the stubs of other libraries are named after what they call', async () => {
    const stubs = [...run('objdump', '-d', 'p').matchAll(/^([0-9a-f]{16}) <(\w+)@plt>:$/gm)];
    assert.ok(
      stubs.some(([, , name]) => name === 'getc' || name === 'getchar'),
      'the program calls the C library',
    );
    for (const name of ['p', 'stripped', 'with-mini']) {
      const table = await tableOf(name);
      for (const [, address, stub] of stubs) {
        assert.equal(table.nameAt(Number.parseInt(address, 16) + 4), `${stub}@plt`);
      }
    }
  });

  test('with its debug file or with mini debug info it has all of them', async () => {
    for (const table of [await tableOf('stripped', 'p.debug'), await tableOf('with-mini')]) {
      assert.equal(table.nameAt(addressOf('local_function')), 'local_function');
      assert.equal(table.nameAt(addressOf('exported_function')), 'exported_function');
      assert.equal(table.nameAt(addressOf('main')), 'main');
    }
  });

  test('mini debug info that is damaged, or inflates without end, is an error of the file', async () => {
    const bytes = readFileSync(file('mini.xz'));
    await assert.rejects(unxz(bytes, 100), /inflates to more than 100 bytes/);
    await assert.rejects(unxz(Buffer.from('not xz at all, just text'), 1 << 20), isUnreadable);
    assert.deepEqual(Buffer.from(await unxz(bytes, 1 << 20)), readFileSync(file('mini')));
  });

  test('a debug file is found by build id or link, in the root directory of the process, and only of the same build', () => {
    const { gnu } = readBuildIds(parseElf(source('p')), source('p'));
    const link = readDebugLink(parseElf(source('linked')), source('linked'));
    const root = file('root');
    const place = (path: string, name: string) => {
      mkdirSync(dirname(root + path), { recursive: true });
      copyFileSync(file(name), root + path);
    };
    const open = (path: string) => openDebugFile([root], path, { gnu, go: '' }, link);
    const found = (path: string) => {
      const fd = open(path);
      if (fd !== undefined) closeSync(fd);
      return fd !== undefined;
    };
    assert.equal(found('/usr/bin/linked'), false);

    place('/usr/bin/.debug/p.debug', 'p.debug');
    assert.equal(found('/usr/bin/linked'), true);
    assert.equal(found('/opt/linked'), false);
    place('/usr/lib/debug/opt/p.debug', 'p.debug');
    assert.equal(found('/opt/linked'), true);

    const byId = `/usr/lib/debug/.build-id/${gnu.slice(0, 2)}/${gnu.slice(2)}.debug`;
    place(byId, 'p.debug');
    assert.equal(openDebugFile([root], 'stripped', { gnu, go: '' }, undefined) !== undefined, true);
    rmSync(root + byId);
    writeFileSync(file('other.c'), 'int main(void) { return 7; }');
    run('gcc', '-Wl,--build-id', '-o', 'other', 'other.c');
    place(byId, 'other');
    assert.equal(openDebugFile([root], 'stripped', { gnu, go: '' }, undefined), undefined, 'of another build');
    rmSync(root + byId);
    execFileSync('mkfifo', [root + byId]);
    assert.equal(openDebugFile([root], 'stripped', { gnu, go: '' }, undefined), undefined, 'a FIFO is not waited for');
    rmSync(root + byId);
    symlinkSync('/dev/zero', root + byId);
    assert.equal(openDebugFile([root], 'stripped', { gnu, go: '' }, undefined), undefined, 'a device is not read');
    // Without a build id the checksum of the link decides.
    assert.notEqual(openDebugFile([root], '/usr/bin/linked', { gnu: '', go: '' }, link), undefined);
    const wrong = { name: 'p.debug', crc: (link!.crc + 1) >>> 0 };
    assert.equal(openDebugFile([root], '/usr/bin/linked', { gnu: '', go: '' }, wrong), undefined);
  });

  test('damaged files end in an error of the file or a table, never in a crash', async () => {
    let seed = 12_345;
    const random = (limit: number) => {
      seed = (Math.imul(seed, 1_103_515_245) + 12_345) & 0x7fff_ffff;
      return (seed >>> 8) % limit;
    };
    const originals = ['p', 'with-mini'].map((name) => readFileSync(file(name)));
    let errors = 0;
    for (let round = 0; round < 300; round++) {
      const bytes = Buffer.from(originals[round % 2]);
      const headers = Number(bytes.readBigUInt64LE(40)); // where the section headers are
      for (let edit = 0; edit <= random(4); edit++) {
        const at = random(2) === 0 ? random(bytes.length) : Math.min(headers + random(64 * 40), bytes.length - 1);
        bytes[at] = [0, 0xff, 0x80, random(256)][random(4)];
      }
      const damaged = bytes.subarray(0, random(10) === 0 ? random(bytes.length) : bytes.length);
      try {
        const sources = { file: bytesSource(damaged) };
        const table = new ElfSymbolTable(await readElfSymbols({ ...sources, unxz }), sources);
        for (let address = 0x1000; address < 0x1400; address += 7) table.nameAt(address);
      } catch (error) {
        assert.ok(isUnreadable(error), String(error));
        errors++;
      }
    }
    assert.ok(errors > 3 && errors < 290, `${errors} of 300 were refused`);
  });

  test('an open file is read as well as bytes', async () => {
    const fd = openSync(file('p'), 'r');
    try {
      const table = new ElfSymbolTable(await readSymbolFiles({ fd }), { file: fileSource(fd) });
      assert.equal(table.nameAt(addressOf('main')), 'main');
      assert.ok(table.bytes > 0 && table.bytes < 10_000);
    } finally {
      closeSync(fd);
    }
  });
});
