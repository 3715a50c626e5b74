// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { fuzzRounds, fuzzSeed, mutations } from '../test/mutate.ts';
import { type Btf, parseBtf } from './btf.ts';
import { BpfError } from './errors.ts';

/** Writes BTF by hand, after Documentation/bpf/btf.rst, so that the reader is not checked against itself. */
class Writer {
  readonly #types: Buffer[] = [];
  #strings = '\0';

  name(text: string): number {
    if (text === '') return 0;
    const offset = this.#strings.length;
    this.#strings += `${text}\0`;
    return offset;
  }

  /** Id of a type of the kind; `words` follow it. */
  add(kind: number, name: string, sizeOrType: number, words: number[] = [], members = 0, flag = 0): number {
    const info = ((flag << 31) | (kind << 24) | members) >>> 0;
    this.#types.push(Buffer.from(Uint32Array.of(this.name(name), info, sizeOrType, ...words).buffer));
    return this.#types.length;
  }

  bytes(): Buffer {
    const types = Buffer.concat(this.#types);
    const header = Buffer.alloc(24);
    header.writeUInt16LE(0xeb9f, 0);
    header[2] = 1;
    header.writeUInt32LE(24, 4);
    header.writeUInt32LE(0, 8);
    header.writeUInt32LE(types.length, 12);
    header.writeUInt32LE(types.length, 16);
    header.writeUInt32LE(this.#strings.length, 20);
    return Buffer.concat([header, types, Buffer.from(this.#strings, 'latin1')]);
  }
}

const SIGNED = 1 << 24;
const BOOL = 4 << 24;

/** One of each kind. */
function everyKind() {
  const writer = new Writer();
  const int = writer.add(1, 'int', 4, [SIGNED | 32]);
  const char = writer.add(1, 'char', 1, [8]);
  const bool = writer.add(1, '_Bool', 1, [BOOL | 8]);
  const u64 = writer.add(1, 'unsigned long long', 8, [64]);
  const pointer = writer.add(2, '', int);
  const array = writer.add(3, '', 0, [char, int, 16]);
  const grid = writer.add(3, '', 0, [array, int, 3]);
  const typedef = writer.add(8, 'number', writer.add(10, '', writer.add(9, '', int)));
  const struct = writer.add(
    4,
    'thing',
    40,
    [writer.name('a'), int, 0, writer.name('b'), grid, 32, writer.name('c'), typedef, 288],
    3,
  );
  const bits = writer.add(
    4,
    'bits',
    4,
    [writer.name('low'), int, 3 << 24, writer.name('high'), int, (5 << 24) | 3],
    2,
    1,
  );
  const union = writer.add(5, 'either', 8, [writer.name('x'), u64, 0], 1);
  const small = writer.add(6, 'small', 4, [writer.name('MINUS'), 0xffffffff, writer.name('ONE'), 1], 2, 1);
  const large = writer.add(19, 'large', 8, [writer.name('HUGE'), 1, 0x80000000], 1);
  writer.add(7, 'unseen', 0);
  const prototype = writer.add(13, '', int, [writer.name('first'), u64, 0, 0], 2);
  writer.add(12, 'call_me', prototype, [], 1);
  const variable = writer.add(14, 'knob', bool, [1]);
  writer.add(15, '.rodata', 16, [variable, 8, 1], 1);
  writer.add(16, 'double', 8);
  writer.add(17, 'tagged', struct, [0xffffffff]);
  const tagged = writer.add(18, 'user', struct);
  return { writer, int, array, grid, typedef, struct, bits, union, small, large, pointer, variable, tagged };
}

/** Asks everything that can be asked. */
function visit(btf: Btf): void {
  for (let id = 0; id < btf.typeCount; id++) {
    btf.type(id);
    btf.resolve(id);
    btf.sizeOf(id);
  }
  btf.find('struct', 'thing');
  btf.functionsAmong(['call_me']);
}

/** Either it can be read, or the error says that it cannot: nothing else may come out. */
function readOrRefuse(bytes: Uint8Array): void {
  try {
    visit(parseBtf(bytes));
  } catch (error) {
    if (!(error instanceof BpfError) || error.code !== 'BTF_MALFORMED') throw error;
  }
}

describe('parseBtf', () => {
  const { writer, ...ids } = everyKind();
  const bytes = writer.bytes();
  const btf = parseBtf(bytes);

  test('reads every kind', () => {
    assert.deepEqual(btf.type(0), { kind: 'void' });
    assert.deepEqual(btf.type(ids.int), { kind: 'int', name: 'int', size: 4, signed: true, char: false, bool: false });
    assert.deepEqual(btf.find('struct', 'thing')!.members, [
      { name: 'a', type: ids.int, bitOffset: 0, bitSize: 0 },
      { name: 'b', type: ids.grid, bitOffset: 32, bitSize: 0 },
      { name: 'c', type: ids.typedef, bitOffset: 288, bitSize: 0 },
    ]);
    assert.deepEqual(
      btf.find('struct', 'bits')!.members.map(({ bitOffset, bitSize }) => [bitOffset, bitSize]),
      [
        [0, 3],
        [3, 5],
      ],
    );
    assert.deepEqual(btf.find('enum', 'small')!.values, [
      { name: 'MINUS', value: -1n },
      { name: 'ONE', value: 1n },
    ]);
    assert.deepEqual(btf.find('enum64', 'large')!.values, [{ name: 'HUGE', value: 0x8000000000000001n }]);
    assert.deepEqual(btf.find('dataSection', '.rodata')!.variables, [{ type: ids.variable, offset: 8, size: 1 }]);
    assert.deepEqual(btf.functionsAmong(['call_me', 'call_you', 'knob']), new Set(['call_me']));
    assert.equal(btf.find('struct', 'thin'), undefined);
    assert.equal(btf.find('union', 'thing'), undefined);
    assert.equal([...btf.types()].length, btf.typeCount - 1);
  });

  test('resolves and measures', () => {
    assert.equal(btf.resolve(ids.typedef).kind, 'int');
    assert.equal(btf.resolve(ids.tagged).kind, 'struct');
    assert.equal(btf.sizeOf(ids.grid), 48);
    assert.equal(btf.sizeOf(ids.pointer), 8);
    assert.equal(btf.sizeOf(ids.variable), 1);
    assert.equal(btf.sizeOf(0), 0);
  });

  test('circles end', () => {
    const circle = new Writer();
    circle.add(8, 'a', 2);
    circle.add(8, 'b', 1);
    circle.add(3, '', 0, [3, 3, 2]);
    const read = parseBtf(circle.bytes());
    assert.throws(() => read.resolve(1), { code: 'BTF_MALFORMED', message: /chain of more than/ });
    assert.throws(() => read.sizeOf(3), { code: 'BTF_MALFORMED', message: /nests more than/ });
  });

  test('refuses what it cannot read, saying why', () => {
    const changed = (at: number, value: number) => {
      const copy = Buffer.from(bytes);
      copy.writeUInt32LE(value, at);
      return copy;
    };
    assert.throws(() => parseBtf(Buffer.alloc(10)), { code: 'BTF_MALFORMED', message: /shorter than its header/ });
    assert.throws(() => parseBtf(changed(0, 0)), { message: /magic/ });
    assert.throws(() => parseBtf(changed(12, 0xffffffff)), { message: /types lie outside/ });
    assert.throws(() => parseBtf(changed(20, 0xffffffff)), { message: /strings lie outside/ });
    assert.throws(() => parseBtf(changed(24 + 4, 31 << 24)), { message: /unknown kind 31/ });
    assert.throws(() => parseBtf(changed(24 + 4, (4 << 24) | 0xffff)), { message: /type 1 is cut off/ });
    assert.throws(() => parseBtf(changed(24, 0xffff)).type(1), { message: /string 65535 lies outside/ });
    assert.throws(() => btf.type(btf.typeCount), { message: /there is no type/ });
    assert.throws(() => btf.type(-1), { message: /there is no type/ });
  });

  test('any bytes are read or refused', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 400 }), readOrRefuse), { seed: fuzzSeed });
    const header = bytes.subarray(0, 24);
    const afterHeader = fc.uint8Array({ minLength: bytes.length - 24, maxLength: bytes.length - 24 });
    fc.assert(
      fc.property(afterHeader, (rest) => readOrRefuse(Buffer.concat([header, rest]))),
      { seed: fuzzSeed },
    );
  });

  test(`mutations are read or refused (seed ${fuzzSeed})`, () => {
    for (const mutation of mutations(bytes, fuzzRounds(5000))) readOrRefuse(mutation);
  });

  const vmlinux = '/sys/kernel/btf/vmlinux';
  test("the running kernel's BTF", {
    skip: existsSync(vmlinux) || process.env.CI === 'true' ? false : 'the kernel has no BTF',
  }, () => {
    const kernel = readFileSync(vmlinux);
    const read = parseBtf(kernel);
    assert.ok(read.typeCount > 10_000);
    const task = read.find('struct', 'task_struct')!;
    const comm = task.members.find((member) => member.name === 'comm')!;
    assert.equal(read.sizeOf(comm.type), 16);
    assert.equal(comm.bitOffset % 8, 0);
    assert.ok(read.functionsAmong(['do_exit']).has('do_exit') || read.functionsAmong(['vfs_read']).has('vfs_read'));
    let structs = 0;
    for (const type of read.types()) if (type.kind === 'struct') structs++;
    assert.ok(structs > 1000);
    for (const mutation of mutations(kernel, 5)) readOrRefuse(mutation);
  });
});
