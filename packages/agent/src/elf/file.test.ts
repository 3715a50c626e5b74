// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { deflateSync, zstdCompressSync } from 'node:zlib';
import fc from 'fast-check';
import { elfImage } from './elf-image.fixture.ts';
import { ElfError, type ElfErrorCode } from './errors.ts';
import {
  addressToOffset,
  findSection,
  parseElf,
  readAddress,
  readSection,
  SHF_ALLOC,
  SHF_COMPRESSED,
  SHF_EXECINSTR,
  SHT_NOBITS,
} from './file.ts';
import { bytesSource } from './source.ts';

const text = { name: '.text', flags: SHF_ALLOC | SHF_EXECINSTR, address: 0x1000, bytes: Uint8Array.of(1, 2, 3, 4) };

function fails(code: ElfErrorCode, run: () => unknown): void {
  assert.throws(run, (error) => error instanceof ElfError && error.code === code);
}

function compressed(name: string, type: number, stream: Uint8Array, size: number) {
  const bytes = new Uint8Array(24 + stream.length);
  new DataView(bytes.buffer).setUint32(0, type, true);
  new DataView(bytes.buffer).setBigUint64(8, BigInt(size), true);
  bytes.set(stream, 24);
  return { name, flags: SHF_COMPRESSED, bytes };
}

describe('parseElf', () => {
  it('reads headers, sections and bytes by name and by address', () => {
    const source = bytesSource(elfImage({ entry: 0x1002, sections: [text] }));
    const file = parseElf(source);
    assert.equal(file.entry, 0x1002);
    assert.equal(file.sectionsProblem, '');
    assert.deepEqual([...readSection(source, findSection(file, '.text')!)], [1, 2, 3, 4]);
    assert.deepEqual([...readAddress(file, source, 0x1001, 2)], [2, 3]);
    assert.equal(addressToOffset(file, 0x2000), -1);
    fails('malformed', () => readAddress(file, source, 0x1003, 2));
  });

  it('does without section headers that lie outside of the file', () => {
    const image = elfImage({ sections: [text] });
    new DataView(image.buffer).setBigUint64(40, BigInt(image.length), true);
    const file = parseElf(bytesSource(image));
    assert.deepEqual(file.sections, []);
    assert.match(file.sectionsProblem, /leave the file/);
    assert.equal(file.programHeaders.length, 1);
  });

  it('names what a file is not', () => {
    fails('notElf', () => parseElf(bytesSource(new Uint8Array(0))));
    fails('notElf', () => parseElf(bytesSource(Buffer.from('#!/bin/sh\n'.padEnd(100)))));
    fails('truncated', () => parseElf(bytesSource(elfImage({ sections: [] }).subarray(0, 40))));
    for (const [offset, value] of [
      [4, 1], // 32-bit
      [5, 2], // big endian
      [18, 183], // aarch64
    ]) {
      const image = elfImage({ sections: [text] });
      image[offset] = value;
      fails('unsupported', () => parseElf(bytesSource(image)));
    }
  });

  it('refuses addresses of 2^53 and more', () => {
    const image = elfImage({ sections: [text] });
    new DataView(image.buffer).setBigUint64(64 + 16, 1n << 60n, true);
    fails('malformed', () => parseElf(bytesSource(image)));
  });

  it('reads this very program', () => {
    const source = bytesSource(readFileSync(process.execPath));
    const file = parseElf(source);
    assert.ok(file.sections.length > 10);
    assert.ok(findSection(file, '.text')!.size > 1 << 20);
  });
});

describe('readSection', () => {
  const content = Buffer.from('frames '.repeat(100));

  it('inflates zlib, zstd and the older form', () => {
    const old = Buffer.concat([Buffer.from('ZLIB'), Buffer.alloc(8), deflateSync(content)]);
    old.writeBigUInt64BE(BigInt(content.length), 4);
    const sections = [
      compressed('.a', 1, deflateSync(content), content.length),
      compressed('.b', 2, zstdCompressSync(content), content.length),
      { name: '.zdebug_frame', bytes: old },
    ];
    const source = bytesSource(elfImage({ sections }));
    const file = parseElf(source);
    for (const { name } of sections) {
      assert.deepEqual(Buffer.from(readSection(source, findSection(file, name)!)), content, name);
    }
  });

  it('refuses streams that are damaged, of unknown type, or of another size than announced', () => {
    const stream = deflateSync(content);
    const cases: [ElfErrorCode, ReturnType<typeof compressed>][] = [
      ['malformed', compressed('.x', 1, stream.subarray(0, 10), content.length)],
      ['malformed', compressed('.x', 1, stream, content.length - 1)],
      ['malformed', compressed('.x', 1, stream, content.length + 1)],
      ['unsupported', compressed('.x', 9, stream, content.length)],
      ['tooLarge', compressed('.x', 1, stream, 2 ** 40)],
    ];
    for (const [code, section] of cases) {
      const source = bytesSource(elfImage({ sections: [section] }));
      fails(code, () => readSection(source, findSection(parseElf(source), '.x')!));
    }
  });

  it('refuses sections without bytes and above the limit', () => {
    const source = bytesSource(elfImage({ sections: [{ name: '.bss', type: SHT_NOBITS }, text] }));
    const file = parseElf(source);
    fails('malformed', () => readSection(source, findSection(file, '.bss')!));
    fails('tooLarge', () => readSection(source, findSection(file, '.text')!, 3));
  });
});

describe('any bytes', () => {
  it('give a file or an ElfError', () => {
    const image = elfImage({ sections: [text] });
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(image.length - 1), fc.nat(255)), { maxLength: 8 }),
        fc.nat(image.length),
        (edits, length) => {
          const bytes = image.slice(0, length);
          for (const [at, value] of edits) if (at < length) bytes[at] = value;
          try {
            const source = bytesSource(bytes);
            for (const section of parseElf(source).sections) readSection(source, section);
          } catch (error) {
            assert.ok(error instanceof ElfError, String(error));
          }
        },
      ),
    );
  });
});
