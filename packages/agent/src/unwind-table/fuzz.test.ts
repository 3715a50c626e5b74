// SPDX-License-Identifier: Apache-2.0

/**
 * Real files with seeded damage: each gives a table that holds together, or a typed error, with bounded reading.
 * FUZZ_ROUNDS multiplies the number of mutations.
 */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { describe, it } from 'node:test';
import { ElfError } from '../elf/errors.ts';
import { type ElfFile, findSection, parseElf } from '../elf/file.ts';
import { openGoPclntab } from '../elf/go-pclntab.ts';
import { readBuildIds } from '../elf/notes.ts';
import type { ByteSource } from '../elf/source.ts';
import { readSymbols } from '../elf/symbols.ts';
import { buildUnwindTable, type UnwindTable } from './build.ts';
import { BLOCK_SIZE, MAX_SEGMENT_BYTES } from './encode.ts';
import { UnwindTableError } from './errors.ts';
import { RULE_SIZE } from './row.ts';

const rounds = Number(process.env.FUZZ_ROUNDS ?? 1);

/** A small generator of numbers with a seed (mulberry32). */
function generator(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * below);
  };
}

/** A file with edits laid over it, that counts what is read. */
class DamagedFile implements ByteSource {
  size: number;
  bytesRead = 0;
  readonly #bytes: Uint8Array;
  readonly #edits: { at: number; bytes: Uint8Array }[] = [];

  constructor(bytes: Uint8Array) {
    this.#bytes = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length); // whose slices are copies
    this.size = bytes.length;
  }

  edit(at: number, bytes: Uint8Array): void {
    this.#edits.push({ at, bytes });
  }

  read(offset: number, length: number): Uint8Array {
    this.bytesRead += length;
    const result = this.#bytes.slice(offset, offset + length);
    for (const { at, bytes } of this.#edits) {
      for (let i = Math.max(0, offset - at); i < bytes.length && at + i < offset + length; i++) {
        result[at + i - offset] = bytes[i];
      }
    }
    return result;
  }
}

interface Part {
  offset: number;
  size: number;
}

/** Parts of a file that are worth damage: headers, and the sections that are parsed. */
function targets(file: ElfFile, size: number): { headers: Part[]; sections: Part[] } {
  const names = [
    '.eh_frame',
    '.eh_frame_hdr',
    '.debug_frame',
    '.gopclntab',
    '.go.module',
    '.symtab',
    '.dynsym',
    '.plt',
    '.text',
    '.note.gnu.build-id',
  ];
  const sections = names.map((name) => findSection(file, name)).filter((s) => s !== undefined && s.type !== 8);
  const headers = { offset: 0, size: 64 + 56 * file.programHeaders.length };
  const sectionHeaders = { offset: size - 64 * file.sections.length - 8, size: 64 * file.sections.length };
  return { headers: [headers, sectionHeaders], sections: sections.map((s) => ({ offset: s!.offset, size: s!.size })) };
}

const EXTREMES = [0, 1, 0x7f, 0x80, 0xff, 0xffff, 0x7fffffff, 0x80000000, 0xfffffff0, 0xffffffff];

function damage(file: DamagedFile, parts: ReturnType<typeof targets>, random: (below: number) => number): void {
  for (let edits = 1 + random(6); edits > 0; edits--) {
    const { headers, sections } = parts;
    const part = random(12) === 0 ? headers[random(headers.length)] : sections[random(sections.length)];
    // Tables begin with what decides: half of the edits fall near the start.
    const at = part.offset + random(random(2) === 0 ? Math.min(part.size, 256) : part.size);
    const word = new Uint8Array(8);
    switch (random(5)) {
      case 0:
        file.edit(at, Uint8Array.of(random(256)));
        break;
      case 1:
        new DataView(word.buffer).setUint32(0, EXTREMES[random(EXTREMES.length)], true);
        file.edit(at & ~3, word.subarray(0, 4));
        break;
      case 2:
        new DataView(word.buffer).setBigUint64(0, (1n << BigInt(random(64))) - BigInt(random(3)), true);
        file.edit(at & ~7, word);
        break;
      case 3: // the same bytes twice: overlapping functions
        file.edit(at & ~3, file.read(part.offset + random(part.size), Math.min(64, part.size - (at - part.offset))));
        break;
      default:
        if (random(20) === 0) file.size = random(file.size);
        else file.edit(at, new Uint8Array(random(64)).fill(random(256)));
    }
  }
}

function checkTable(table: UnwindTable): void {
  let end = 0;
  for (const { textStart, textEnd, index, rows, rules, byteLength } of table.segments) {
    assert.ok(textStart >= end && textEnd > textStart);
    end = textEnd;
    assert.ok(byteLength <= MAX_SEGMENT_BYTES);
    assert.equal(index.length, Math.ceil((textEnd - textStart) / BLOCK_SIZE) + 1);
    assert.equal(index.at(-1), rows.length);
    let last = -1;
    for (let block = 0; block + 1 < index.length; block++) {
      assert.ok(index[block] <= index[block + 1]);
      for (let row = index[block]; row < index[block + 1]; row++) {
        const at = block * BLOCK_SIZE + (rows[row] >>> 16);
        assert.ok(at > last && rows[row] >>> 16 < BLOCK_SIZE);
        assert.ok((rows[row] & 0xffff) * RULE_SIZE < rules.length);
        last = at;
      }
    }
    assert.ok(index.length === 1 || rows[0] >>> 16 === 0);
  }
}

function fuzz(path: string, mutations: number): void {
  const bytes = readFileSync(path);
  const intact = new DamagedFile(bytes);
  const parts = targets(parseElf(intact), bytes.length);
  let tables = 0;
  for (let seed = 0; seed < mutations * rounds; seed++) {
    const random = generator(seed);
    const file = new DamagedFile(bytes);
    damage(file, parts, random);
    file.bytesRead = 0;
    try {
      const elf = parseElf(file);
      for (const read of [
        () => readBuildIds(elf, file),
        () => readSymbols(elf, file, 'symtab'),
        () => readSymbols(elf, file, 'dynsym'),
        () => openGoPclntab(elf, file),
        () => {
          checkTable(buildUnwindTable(elf, file));
          tables++;
        },
      ]) {
        try {
          read();
        } catch (error) {
          if (!(error instanceof ElfError) && !(error instanceof UnwindTableError)) throw error;
        }
      }
    } catch (error) {
      if (error instanceof ElfError) continue;
      throw new Error(`${path} with seed ${seed}`, { cause: error });
    }
    const limit = 64 * bytes.length + (1 << 24);
    assert.ok(file.bytesRead < limit, `${path} with seed ${seed} reads ${file.bytesRead} bytes`);
  }
  assert.ok(tables > (mutations * rounds) / 3, `only ${tables} of ${mutations * rounds} came to a table`);
}

describe('damaged files', () => {
  const libraries = readFileSync('/proc/self/maps', 'latin1').match(/\/\S+\/(ld-|libgcc_s)\S*\.so\S*$/gm) ?? [];
  const loaders = [...new Set([...libraries, '/lib/ld-musl-x86_64.so.1'])].filter((path) => existsSync(path));
  for (const path of loaders) {
    // musl's code is analysed, which takes its time.
    it(`of ${path} give a table or a typed error`, () => fuzz(path, path.includes('musl') ? 20 : 100));
  }

  it('of a Go program give a table or a typed error', () => {
    // esbuild's executable is a Go program that every checkout has.
    const esbuild = createRequire(import.meta.resolve('esbuild')).resolve('@esbuild/linux-x64/bin/esbuild');
    fuzz(esbuild, 12);
  });
});
