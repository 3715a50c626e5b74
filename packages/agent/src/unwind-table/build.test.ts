// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { deflateSync } from 'node:zlib';
import { elfImage, type ImageOptions, type ImageSection, symbolSections } from '../elf/elf-image.fixture.ts';
import { ET_EXEC, PT_GNU_EH_FRAME, parseElf, SHF_ALLOC, SHF_COMPRESSED, SHF_EXECINSTR } from '../elf/file.ts';
import { bytesSource } from '../elf/source.ts';
import { buildUnwindTable } from './build.ts';
import { CallFrames, little } from './call-frame.fixture.ts';
import { UnwindTableError } from './errors.ts';
import { findRule } from './lookup.ts';
import * as row from './row.ts';

const TEXT = 0x40_1000;
const EH_FRAME = 0x50_0000;
const NOP = 0x90;

function code(size: number, pieces: Record<number, string> = {}): Uint8Array {
  const bytes = new Uint8Array(size).fill(NOP);
  for (const [at, hex] of Object.entries(pieces)) bytes.set(Buffer.from(hex.replaceAll(' ', ''), 'hex'), Number(at));
  return bytes;
}

function text(bytes: Uint8Array, name = '.text', address = TEXT): ImageSection {
  return { name, flags: SHF_ALLOC | SHF_EXECINSTR, address, bytes };
}

function ehFrame(fill: (frames: CallFrames) => void): ImageSection {
  const frames = new CallFrames(true, EH_FRAME).cie();
  fill(frames);
  return { name: '.eh_frame', flags: SHF_ALLOC, address: EH_FRAME, bytes: Uint8Array.from(frames.terminator().bytes) };
}

function build(options: ImageOptions) {
  const source = bytesSource(elfImage(options));
  return buildUnwindTable(parseElf(source), source);
}

/** The kinds of the rules at offsets of the text. */
function kinds(table: ReturnType<typeof build>, ...offsets: number[]): (number | undefined)[] {
  return offsets.map((offset) => findRule(table, TEXT + offset)?.kind);
}

const push = [0x41, 0x0e, 16]; // CFA = rsp + 16 from the second byte on

describe('buildUnwindTable', () => {
  it('covers functions by their call frame information, padding with what comes before, and the rest with nothing', () => {
    const frames = ehFrame((f) =>
      f
        .fde(TEXT, 20, push)
        .fde(TEXT + 32, 10, push)
        .fde(TEXT + 128, 8, []),
    );
    const table = build({ sections: [text(code(200)), frames] });
    assert.deepEqual(kinds(table, 0, 19, 31, 32, 127, 128, 199), [2, 2, 2, 2, 0, 2, 0]);
    assert.equal(findRule(table, TEXT + 1)!.cfaOffset, 16);
    assert.equal(findRule(table, TEXT + 31)!.cfaOffset, 16, 'padding');
    assert.equal(table.stats.ehFrameFunctions, 3);
    assert.equal(table.stats.uncoveredBytes, 86 + 64);
  });

  it('lets the function that begins last win where two overlap', () => {
    const frames = ehFrame((f) => f.fde(TEXT, 64, [0x0e, 16]).fde(TEXT + 16, 16, [0x0e, 24]));
    const table = build({ sections: [text(code(64)), frames] });
    assert.deepEqual(
      [0, 15, 16, 31].map((at) => findRule(table, TEXT + at)!.cfaOffset),
      [16, 16, 24, 24],
    );
    assert.equal(kinds(table, 63)[0], row.RULE_NONE);
  });

  it('finds .eh_frame through its header where sections are stripped', () => {
    const frames = ehFrame((f) => f.fde(TEXT, 64, [0x0e, 48]));
    const header = Uint8Array.from([1, 0x1b, 0xff, 0xff, ...little(EH_FRAME - (EH_FRAME + 0x1000 + 4), 4)]);
    const table = build({
      sections: [
        text(code(64)),
        frames,
        { name: '.eh_frame_hdr', flags: SHF_ALLOC, address: EH_FRAME + 0x1000, bytes: header },
      ],
      programHeaders: [{ type: PT_GNU_EH_FRAME, section: '.eh_frame_hdr' }],
      stripSections: true,
    });
    assert.equal(findRule(table, TEXT + 63)!.cfaOffset, 48);
  });

  it('fills what .eh_frame leaves with .debug_frame, compressed or not', () => {
    const frames = ehFrame((f) => f.fde(TEXT, 32, [0x0e, 16]));
    const debug = Uint8Array.from(new CallFrames(false).cie().fde(TEXT + 16, 48, [0x0e, 32]).bytes);
    const stream = deflateSync(debug);
    const compressed = Uint8Array.from([...little(1, 8), ...little(debug.length, 8), ...little(8, 8), ...stream]);
    for (const section of [
      { name: '.debug_frame', bytes: debug },
      { name: '.debug_frame', bytes: compressed, flags: SHF_COMPRESSED },
    ]) {
      const table = build({ sections: [text(code(64)), frames, section] });
      assert.deepEqual(
        [31, 32, 63].map((at) => findRule(table, TEXT + at)!.cfaOffset),
        [16, 32, 32],
      );
    }
  });

  it('analyses functions that only symbols describe', () => {
    const symbols = symbolSections([
      { name: 'f', address: TEXT, size: 5 },
      { name: 'g', address: TEXT + 16, size: 32 },
      { name: 'f.cold', address: TEXT + 64, size: 8 },
    ]);
    const bytes = code(96, { 0: '53 90 90 5b c3', 16: '48 83 ec 28 90 48 83 c4 28 c3', 64: '90 c3' });
    const table = build({ sections: [text(bytes), ...symbols] });
    assert.equal(findRule(table, TEXT + 1)!.cfaOffset, 16);
    assert.equal(findRule(table, TEXT + 20)!.cfaOffset, 48);
    assert.equal(findRule(table, TEXT + 64)!.kind, row.RULE_NONE, 'a part of a function is entered at some depth');
  });

  it('finds functions of stripped programs by calls, pointers and tail calls', () => {
    const target = (from: number, to: number, length: number) =>
      Buffer.from(little(to - from - length, 4)).toString('hex');
    const bytes = code(0x1000, {
      0: `e8 ${target(0, 0x100, 5)} c3`,
      256: '53 90 5b c3',
      512: `50 58 e9 ${target(0x202, 0x300, 5)}`,
      768: '55 90 5d c3',
      1024: '31 c0 c3',
    });
    const frames = ehFrame((f) => f.fde(TEXT, 16, []));
    const data = {
      name: '.data',
      flags: SHF_ALLOC | 1,
      address: 0x60_0000,
      bytes: Uint8Array.from(little(TEXT + 0x200, 8)),
    };
    const table = build({ type: ET_EXEC, sections: [text(bytes), frames, data] });
    assert.deepEqual(
      [0x101, 0x201, 0x301].map((at) => findRule(table, TEXT + at)?.cfaOffset),
      [16, 16, 16],
    );
    assert.equal(kinds(table, 0x400)[0], row.RULE_NONE);
  });

  it('knows PLT sections without call frame information', () => {
    const jump = (index: number) =>
      `ff 25 00 00 00 00 68 0${index} 00 00 00 e9 ${Buffer.from(little(-16 * (index + 2), 4)).toString('hex')}`;
    const plt = code(48, { 0: 'ff 35 00 00 00 00 ff 25 00 00 00 00 0f 1f 40 00', 16: jump(0), 32: jump(1) });
    const table = build({ sections: [text(plt, '.plt')] });
    const offsets = [0, 6, 16, 22, 27, 32, 43].map((at) => findRule(table, TEXT + at)!.cfaOffset);
    assert.deepEqual(offsets, [16, 24, 8, 8, 16, 8, 16]);
  });

  it('knows V8 builtins, and keeps to rbp where the depth is not proved', () => {
    const symbols = symbolSections([
      { name: 'Builtins_Framed', address: TEXT, size: 16 },
      { name: 'Builtins_Broken', address: TEXT + 16, size: 16 },
    ]);
    const bytes = code(32, { 0: '55 48 89 e5 e8 00 00 00 00 48 89 ec 5d c3', 16: '06 06' });
    const table = build({ sections: [text(bytes), ...symbols] });
    assert.deepEqual(
      [0, 4, 13].map((at) => findRule(table, TEXT + at)).map((r) => [r!.base, r!.cfaOffset]),
      [
        [row.REG_RSP, 8],
        [row.REG_RBP, 16],
        [row.REG_RSP, 8],
      ],
    );
    assert.equal(kinds(table, 17)[0], row.RULE_FRAME_POINTER);
  });

  it('finds signal trampolines, from the byte before them on', () => {
    const trampoline = '48 c7 c0 0f 00 00 00 0f 05';
    const table = build({ sections: [text(code(64, { 32: trampoline }))] });
    assert.deepEqual(kinds(table, 30, 31, 32, 40, 41), [0, 5, 5, 5, 0]);
  });

  describe('entry code', () => {
    const start = '31 ed 49 89 d1 ff 15 00 00 00 00 f4';

    it('without call frame information', () => {
      for (const options of [{ type: ET_EXEC, entry: TEXT + 16 }, { entry: TEXT + 16 }]) {
        const table = build({ ...options, sections: [text(code(64, { 16: start }))] });
        assert.equal(kinds(table, 20)[0], row.RULE_ENTRY);
      }
    });

    it('whose call frame information does not say that it has no caller', () => {
      const unmarked = ehFrame((f) => f.fde(TEXT, 32, []));
      const marked = ehFrame((f) => f.fde(TEXT, 32, [0x07, 16]));
      const options = { type: ET_EXEC, entry: TEXT };
      assert.equal(kinds(build({ ...options, sections: [text(code(64)), unmarked] }), 8)[0], row.RULE_ENTRY);
      assert.equal(kinds(build({ ...options, sections: [text(code(64)), marked] }), 8)[0], row.RULE_ROOT);
      assert.equal(
        kinds(build({ entry: TEXT, sections: [text(code(64)), unmarked] }), 8)[0],
        row.RULE_CFA,
        'a library',
      );
    });
  });

  it('gives apart what lies far apart', () => {
    const table = build({ sections: [text(code(16)), text(code(16), '.far', TEXT + (1 << 28))] });
    assert.equal(table.segments.length, 2);
    assert.equal(findRule(table, TEXT + 4096), undefined);
  });

  it('refuses files without code and with too much', () => {
    const fails = (code: string, options: ImageOptions) =>
      assert.throws(
        () => build(options),
        (error) => error instanceof UnwindTableError && error.code === code,
      );
    fails('noText', { sections: [] });
    fails('tooLarge', { sections: [text(code(16)), text(code(16), '.far', TEXT + 2 ** 32)] });
  });
});
