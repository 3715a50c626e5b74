// SPDX-License-Identifier: Apache-2.0
/**
 * Registers, stacks and files as an attacker would have them, over real executables: every walk comes to a counted end.
 * `FUZZ_SEED` and `FUZZ_ROUNDS` in the environment try others, and more.
 */
import assert from 'node:assert/strict';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import { ElfError } from '../elf/errors.ts';
import { findSection, parseElf } from '../elf/file.ts';
import { bytesSource } from '../elf/source.ts';
import { fileSource } from '../processes/file-source.ts';
import { type ExecutableMapping, readMaps } from '../processes/proc-fs.ts';
import { buildUnwindTable, type UnwindTable } from '../unwind-table/build.ts';
import { findRow, findSegment } from '../unwind-table/lookup.ts';
import { WALK_ENDS } from './cfi-unwinder.ts';
import { RuleNeeded, UnwindFile } from './unwind-file.ts';
import type { FileAddress, LearnedRule, MappedFile, WalkReply, WalkRequest } from './walk-request.ts';
import { walkSpill } from './walk-spill.ts';

const SEED = Number(process.env.FUZZ_SEED ?? 20_241);
const rounds = (usual: number) => Number(process.env.FUZZ_ROUNDS ?? usual);

/** mulberry32: integers in [0, limit), the same for a seed everywhere. */
function generator(seed: number): (limit: number) => number {
  let state = seed >>> 0;
  return (limit) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * limit);
  };
}

const STACK = 0x7ffe_0000_0000n;
const libraries = (readMaps(process.pid) ?? []).filter(({ path }) =>
  /\/(libc|ld-linux|libgcc|libm)\b.*\.so/.test(path),
);

describe('hostile spills', () => {
  const files: MappedFile[] = [];
  const mappings: number[] = [];
  before(() => {
    for (const { path, start, end, offset } of libraries) {
      files.push({ id: files.length + 1, fd: openSync(path, 'r') });
      mappings.push(start, end, offset, files.length);
    }
    // A JIT's memory.
    mappings.push(0x7fff_ff00_0000, 0x7fff_ff10_0000, 0, -1);
  });
  after(() => {
    for (const { fd } of files) closeSync(fd);
  });

  const tables = new Map<number, UnwindTable>();
  function ruleAt({ file, address }: FileAddress): LearnedRule {
    let table = tables.get(file);
    if (!table) {
      const source = fileSource(files[file - 1].fd);
      table = buildUnwindTable(parseElf(source), source);
      tables.set(file, table);
    }
    const segment = findSegment(table.segments, address);
    const at = segment && 16 * (segment.rows[findRow(segment, address)] & 0xffff);
    return { file, address, rule: at === undefined ? undefined : segment?.rules.subarray(at, at + 16) };
  }

  function walk(request: WalkRequest): WalkReply {
    for (const rules = [...request.rules]; ; ) {
      const reply = walkSpill({ ...request, rules });
      if (!reply.needed) return reply;
      rules.push(ruleAt(reply.needed));
      assert.ok(rules.length < 1000);
    }
  }

  it('every walk ends, within its limit, for a reason', () => {
    assert.ok(libraries.length > 1);
    const below = generator(SEED);
    const code = ({ start, end }: ExecutableMapping) => start + below(end - start);
    const words = new BigUint64Array(1024);
    const ends = new Map<string, number>();
    let deepest = 0;
    const value = (): bigint => {
      switch (below(8)) {
        case 0:
          return 0n;
        case 1:
          return BigInt(below(2 ** 32)) << BigInt(below(33));
        case 2:
          return (1n << 64n) - 1n - BigInt(below(4096));
        case 3:
        case 4:
          return STACK + 8n * BigInt(below(words.length));
        default:
          return BigInt(code(libraries[below(libraries.length)]));
      }
    };
    for (let round = 0; round < rounds(4000); round++) {
      for (let i = 0; i < words.length; i++) words[i] = value();
      const stack = new Uint8Array(words.buffer.slice(0, below(words.byteLength + 1)));
      const maxFrames = below(300);
      const registers = Array.from({ length: 16 }, () => (below(8) === 0 ? undefined : value()));
      registers[7] = below(20) === 0 ? value() : STACK + 8n * BigInt(below(64));
      const pc = below(10) === 0 ? 0x7fff_ff00_1234 : Number(value()) % 2 ** 57;
      const reply = walk({
        ...{ pc, exact: below(2) === 0, code: new Uint8Array(8 * below(2)), registers, stackStart: STACK },
        ...{ stack, maxFrames, mappings: Float64Array.from(mappings), files, rules: [] },
      });
      assert.ok([...WALK_ENDS, 'failed'].includes(reply.end), reply.end);
      assert.ok(reply.addresses.length <= maxFrames);
      assert.equal(reply.flags.length, reply.addresses.length);
      assert.equal(reply.error, undefined);
      ends.set(reply.end, (ends.get(reply.end) ?? 0) + 1);
      deepest = Math.max(deepest, reply.addresses.length);
    }
    // The inputs do get into the walk.
    assert.ok(ends.size >= 5, [...ends].join(' '));
    assert.ok(deepest > 3, String(deepest));
  });

  it('damaged files give knowledge, none, or an ElfError', () => {
    const smallest = libraries.map(({ path }) => readFileSync(path)).sort((a, b) => a.length - b.length)[0];
    const sections = parseElf(bytesSource(smallest)).sections;
    const text = findSection(parseElf(bytesSource(smallest)), '.text');
    assert.ok(text);
    const targets = sections.filter(({ name }) => /^\.(eh_frame|eh_frame_hdr|debug_frame)$/.test(name));
    assert.ok(targets.length > 0);
    const below = generator(SEED + 1);
    let opened = 0;
    let found = 0;
    for (let round = 0; round < rounds(300); round++) {
      const bytes = Uint8Array.from(smallest);
      for (let change = below(12); change >= 0; change--) {
        const target = below(6) === 0 ? { offset: 0, size: 0x400 } : targets[below(targets.length)];
        bytes[target.offset + below(target.size)] = [0, 0xff, 0x7f, 0x80, below(256)][below(5)];
      }
      const damaged = below(5) === 0 ? bytes.subarray(0, below(bytes.length)) : bytes;
      try {
        const file = new UnwindFile(bytesSource(damaged));
        opened++;
        for (let probe = 0; probe < 100; probe++) {
          try {
            if (file.at(text.address + below(text.size)).kind === 'row') found++;
          } catch (error) {
            if (!(error instanceof RuleNeeded)) throw error;
          }
          file.bytesAt(text.address + below(text.size), 16);
        }
        assert.ok(file.memoryBytes < 1 << 26);
      } catch (error) {
        assert.ok(error instanceof ElfError, String(error));
      }
    }
    assert.ok(opened > 50 && found > 1000, `${opened} opened, ${found} rows`);
  });
});
