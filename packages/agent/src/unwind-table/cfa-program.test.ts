// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { bytesSource } from '../elf/source.ts';
import { CallFrames, type CieOptions, INITIAL, little, sleb, uleb } from './call-frame.fixture.ts';
import { CfaProgram } from './cfa-program.ts';
import { FrameSection } from './cfi.ts';
import * as row from './row.ts';
import { SectionWindow } from './section-window.ts';

const text = { start: 0x1000, end: 0x9000 };
const START = 0x2000;

function section(frames: CallFrames): FrameSection {
  const bytes = Uint8Array.from(frames.bytes);
  const window = new SectionWindow(bytesSource(bytes), 0, bytes.length, frames.address);
  return new FrameSection(window, frames.isEh, { text: 0x1000, data: 0x5000 }, text);
}

/** The rules of the first FDE, as [offset in the function, what differs from an ordinary rule]. */
function rules(instructions: number[], cie: CieOptions = {}, isEh = true): [number, Partial<row.UnwindRule>][] {
  const opened = section(new CallFrames(isEh).cie(cie).fde(START, 100, instructions));
  assert.equal(opened.count, 1);
  assert.ok(opened.select(0));
  const set = new row.RuleSet();
  const result: [number, Partial<row.UnwindRule>][] = [];
  let at = START;
  new CfaProgram(set).run(opened, {
    add(start, end, number) {
      assert.equal(start, at, 'rules follow each other');
      assert.ok(end > start && end <= START + 100);
      at = end;
      const ordinary: row.UnwindRule = { ...row.ruleOfKind(row.RULE_CFA), base: row.REG_RSP, raOffset: -1 };
      const difference = Object.entries(set.rule(number)).filter(
        ([key, value]) => String(value) !== String(ordinary[key as keyof row.UnwindRule]),
      );
      result.push([start - START, Object.fromEntries(difference)]);
    },
  });
  assert.equal(at, START + 100, 'rules cover the function');
  return result;
}

/** A block of a DWARF expression. */
function block(...bytes: number[]): number[] {
  return [...uleb(bytes.length), ...bytes];
}
const breg = (register: number, offset: number) => [0x70 + register, ...sleb(offset)];
const DEREF = 0x06;

describe('CfaProgram', () => {
  it('follows the frame of an ordinary function', () => {
    const program = [
      0x41, 0x0e, 16, 0x86, 2, // push rbp
      0x43, 0x0d, 6, // mov rbp,rsp
      0x44, 0x83, 3, 0x8c, 4, // rbx, r12 saved
      0x50, 0x0a, // remember
      0x0c, 7, 8, 0xc6, // leave
      0x41, 0x0b, // ret; as before
    ]; // biome-ignore format: one instruction of the program a line
    const framed = { base: row.REG_RBP, cfaOffset: 16, rbpOffset: -16 | 1 };
    const saved = { ...framed, saved: [-3, -4, 0, 0, 0] };
    assert.deepEqual(rules(program), [
      [0, { cfaOffset: 8 }],
      [1, { cfaOffset: 16, rbpOffset: -15 }],
      [4, framed],
      [8, saved],
      [24, { cfaOffset: 8, saved: [-3, -4, 0, 0, 0] }],
      [25, saved],
    ]);
  });

  it('advances by every form', () => {
    const program = [0x41, 0x0e, 16, 0x02, 2, 0x0e, 24, 0x03, 3, 0, 0x0e, 32, 0x04, 4, 0, 0, 0, 0x0e, 40];
    program.push(0x1d, ...little(5, 8), 0x0e, 48, 0x01, ...little(START + 90, 8), 0x0e, 56);
    const offsets = rules(program, {}, false).map(([offset, { cfaOffset }]) => [offset, cfaOffset]);
    assert.deepEqual(offsets, [[0, 8], [1, 16], [3, 24], [6, 32], [10, 40], [15, 48], [90, 56]]); // biome-ignore format: pairs
  });

  it('does not go back', () => {
    const [, last] = rules([0x50, 0x01, ...little(START + 8, 8), 0x0e, 56], {}, false);
    assert.deepEqual(last, [16, { kind: row.RULE_UNSUPPORTED, base: 0, raOffset: 0, aux: row.UNSUPPORTED_PROGRAM }]);
  });

  it('scales by the alignment factors', () => {
    const cie = { codeAlign: 3, dataAlign: -4, instructions: [0x0c, 7, 8, 0x90, 2] };
    assert.deepEqual(rules([0x42, 0x86, 4], cie), [
      [0, { cfaOffset: 8 }],
      [6, { cfaOffset: 8, rbpOffset: -15 }],
    ]);
  });

  it('reads the long and signed forms', () => {
    const program = [
      0x05, 3, 2, // offset_extended rbx
      0x11, 12, ...sleb(3), // offset_extended_sf r12
      0x2f, 13, ...uleb(2), // GNU_negative_offset_extended r13: above the CFA
      0x12, 7, ...sleb(-4), // def_cfa_sf
      0x2e, ...uleb(300), // GNU_args_size
    ]; // biome-ignore format: one instruction of the program a line
    assert.deepEqual(rules(program), [[0, { cfaOffset: 32, saved: [-2, -3, 2, 0, 0] }]]);
    assert.deepEqual(rules([0x13, ...sleb(-3), 0x05, 6, 3, 0x06, 6]), [[0, { cfaOffset: 24 }]]);
  });

  it('ends walks where the return address is undefined', () => {
    assert.deepEqual(rules([0x07, 16]), [[0, { kind: row.RULE_ROOT, base: 0, raOffset: 0 }]]);
  });

  it('finds a return address in a register (vfork)', () => {
    assert.deepEqual(rules([0x41, 0x0e, 0, 0x09, 16, 5]), [
      [0, { cfaOffset: 8 }],
      [1, { kind: row.RULE_RA_REGISTER, raOffset: 0, aux: row.REG_RDI }],
    ]);
  });

  it('loses registers whose value cannot be told', () => {
    assert.deepEqual(rules([0x07, 3, 0x09, 12, 0, 0x14, 13, 2]), [
      [0, { cfaOffset: 8, saved: [-128, -128, -128, 0, 0] }],
    ]);
    assert.deepEqual(rules([0x07, 6]), [[0, { cfaOffset: 8, rbpOffset: row.RBP_LOST }]]);
    assert.deepEqual(
      rules([0x83, ...uleb(128)]),
      [[0, { cfaOffset: 8, saved: [-128, 0, 0, 0, 0] }]],
      'too far for its field',
    );
    assert.deepEqual(
      rules([0x86, ...uleb(4096)]),
      [[0, { cfaOffset: 8, rbpOffset: row.RBP_LOST }]],
      'too far for its field',
    );
    assert.deepEqual(rules([0x08, 3, 0x08, 6]), [[0, { cfaOffset: 8 }]], 'same value');
  });

  it('takes any register as the base of the CFA', () => {
    assert.deepEqual(rules([0x0c, 10, 0]), [[0, { base: row.REG_R10 }]]);
    assert.deepEqual(rules([0x0c, 17, 0]), [
      [0, { kind: row.RULE_UNSUPPORTED, base: 0, raOffset: 0, aux: row.UNSUPPORTED_CFA_REGISTER }],
    ]);
  });

  describe('expressions', () => {
    it('of linkers, for lazily bound PLT entries', () => {
      const plt = block(...breg(7, 8), ...breg(16, 0), 0x3f, 0x1a, 0x3b, 0x2a, 0x33, 0x24, 0x22);
      assert.deepEqual(rules([0x0e, 16, 0x46, 0x0e, 24, 0x4a, 0x0f, ...plt]), [
        [0, { cfaOffset: 16 }],
        [6, { cfaOffset: 24 }],
        [16, { kind: row.RULE_PLT, cfaOffset: 8, aux: 11 }],
      ]);
    });

    it('of GCC, for frames that it has realigned', () => {
      const program = [
        0x0f, ...block(...breg(6, -8), DEREF),
        0x10, 6, ...block(...breg(6, 0)),
        0x10, 3, ...block(...breg(6, -24)),
        0x10, 15, ...block(...breg(6, -16)),
      ]; // biome-ignore format: one instruction of the program a line
      assert.deepEqual(rules(program), [
        [
          0,
          {
            kind: row.RULE_CFA_DEREF,
            base: row.REG_RBP,
            cfaOffset: -8,
            rbpOffset: 1,
            saved: [-3, 0, 0, 0, -2],
            aux: row.DEREF_SAVED_FROM_BASE,
          },
        ],
      ]);
    });

    it('of OpenSSL, with the CFA in a word of the stack', () => {
      const plus8 = [0x23, 8];
      assert.deepEqual(rules([0x86, 2, 0x83, 3, 0x0f, ...block(...breg(7, 40), DEREF, ...plus8)]), [
        [0, { kind: row.RULE_CFA_DEREF, cfaOffset: 40, rbpOffset: -15, saved: [-3, 0, 0, 0, 0], aux: 8 }],
      ]);
      // *(rsp + 8 + r9 * 8) + 8
      assert.deepEqual(rules([0x0f, ...block(...breg(7, 8), ...breg(9, 0), 0x38, 0x1e, 0x22, DEREF, ...plus8)]), [
        [0, { kind: row.RULE_CFA_DEREF, cfaOffset: 8, aux: 8 | (10 << row.DEREF_INDEX_SHIFT) }],
      ]);
    });

    it('that are sums', () => {
      assert.deepEqual(rules([0x0f, ...block(...breg(7, 8), 0x08, 8, 0x22)]), [[0, { cfaOffset: 16 }]]);
      assert.deepEqual(rules([0x0f, ...block(0x40, ...breg(7, 8), 0x22, 0x34, 0x1c)]), [[0, { cfaOffset: 20 }]]);
      assert.deepEqual(rules([0x0f, ...block(0x92, 7, 24)]), [[0, { cfaOffset: 24 }]]);
    });

    it('of no known form', () => {
      const unsupported = (aux: number) => [[0, { kind: row.RULE_UNSUPPORTED, base: 0, raOffset: 0, aux }]];
      const code = row.UNSUPPORTED_CFA_EXPRESSION;
      for (const bytes of [
        [...breg(7, 8), DEREF, DEREF],
        [0x22],
        [],
        [0x31],
        [0xe0],
        [...breg(7, 0), ...breg(6, 0), 0x22],
      ]) {
        assert.deepEqual(rules([0x0f, ...block(...bytes)]), unsupported(code), `expression ${bytes}`);
      }
      assert.deepEqual(rules([0x0f, ...block(...breg(7, 8), DEREF, 0x23, 7)]), unsupported(row.UNSUPPORTED_RANGE));
      assert.deepEqual(rules([0x10, 16, ...block(...breg(6, 8))]), unsupported(row.UNSUPPORTED_RETURN_ADDRESS));
      assert.deepEqual(rules([0x16, 7, ...block(...breg(6, 8))]), unsupported(row.UNSUPPORTED_RSP));
    });
  });

  describe('signal frames', () => {
    const registers = [0x0f, ...block(...breg(7, 160), DEREF), 0x10, 16, ...block(...breg(7, 168))];

    it('hold the registers in a ucontext', () => {
      const options = { augmentation: 'zRS', augmentationData: [0x1b] };
      assert.deepEqual(rules(registers, options), [[0, { kind: row.RULE_SIGNAL, raOffset: 0 }]]);
      const unsupported = { kind: row.RULE_UNSUPPORTED, base: 0, raOffset: 0, aux: row.UNSUPPORTED_SIGNAL_FRAME };
      assert.deepEqual(rules([], options), [[0, unsupported]]);
    });

    it('are only those that say so', () => {
      assert.equal(rules(registers)[0][1].kind, row.RULE_UNSUPPORTED);
    });
  });

  describe('programs that are malformed', () => {
    const bad = { kind: row.RULE_UNSUPPORTED, base: 0, raOffset: 0, aux: row.UNSUPPORTED_PROGRAM };

    it('are followed up to what is not understood', () => {
      assert.deepEqual(rules([0x44, 0x3f]), [
        [0, { cfaOffset: 8 }],
        [4, bad],
      ]);
      assert.deepEqual(rules([0x44, 0x0b]), [
        [0, { cfaOffset: 8 }],
        [4, bad],
      ]);
      assert.deepEqual(rules([0x44, 0x0f, 100]), [
        [0, { cfaOffset: 8 }],
        [4, bad],
      ]);
    });

    it('do not remember without end', () => {
      assert.deepEqual(rules(new Array(100).fill(0x0a)), [[0, bad]]);
    });

    it('have no rules if their CIE is', () => {
      assert.deepEqual(rules([], { instructions: [0x3f] }), [[0, bad]]);
      assert.deepEqual(rules([], { instructions: [...INITIAL, 0x41] }), [[0, bad]]);
      assert.deepEqual(rules([], { raColumn: 30 }), [[0, bad]]);
    });

    it('never leave their function', () => {
      assert.deepEqual(rules([0x0e, 16, 0x02, 200, 0x0e, 24]), [[0, { cfaOffset: 16 }]]);
    });
  });

  it('restores what the CIE says', () => {
    const instructions = [...INITIAL, 0x83, 3];
    assert.deepEqual(rules([0x83, 5, 0x41, 0xc3], { instructions }), [
      [0, { cfaOffset: 8, saved: [-5, 0, 0, 0, 0] }],
      [1, { cfaOffset: 8, saved: [-3, 0, 0, 0, 0] }],
    ]);
  });
});

describe('FrameSection', () => {
  it('reads all versions and formats', () => {
    for (const isEh of [true, false]) {
      for (const version of isEh ? [1, 3] : [1, 3, 4]) {
        for (const is64 of [false, true]) {
          const frames = new CallFrames(isEh).cie({ version, is64 });
          frames.fde(0x3000, 16, [], undefined, is64).fde(0x2000, 32, [], undefined, is64);
          const opened = section(frames);
          assert.deepEqual([...opened.starts], [0x2000, 0x3000], `eh ${isEh} version ${version} 64 ${is64}`);
          assert.ok(opened.select(0));
          assert.equal(opened.end, 0x2020);
          assert.deepEqual(opened.problems, { skipped: 0, malformed: 0 });
        }
      }
    }
  });

  it('reads every encoding of a pointer', () => {
    const cases: [encoding: number, encode: (at: number) => number[]][] = [
      [0x00, () => [...little(START, 8), ...little(16, 8)]],
      [0x01, () => [...uleb(START), ...uleb(16)]],
      [0x02, () => [...little(START, 2), ...little(16, 2)]],
      [0x03, () => [...little(START, 4), ...little(16, 4)]],
      [0x04, () => [...little(START, 8), ...little(16, 8)]],
      [0x19, (at) => [...sleb(START - at), ...sleb(16)]],
      [0x1b, (at) => [...little(START - at, 4), ...little(16, 4)]],
      [0x1c, (at) => [...little(START - at, 8), ...little(16, 8)]],
      [0x22, () => [...little(START - 0x1000, 2), ...little(16, 2)]],
      [0x3a, () => [...little(START - 0x5000, 2), ...little(16, 2)]],
    ];
    for (const [encoding, encode] of cases) {
      const frames = new CallFrames(true).cie({ augmentationData: [encoding] }).fde(START, 16, [], encode);
      const opened = section(frames);
      assert.deepEqual([...opened.starts], [START], `encoding 0x${encoding.toString(16)}`);
      assert.ok(opened.select(0));
      assert.equal(opened.end, START + 16);
    }
  });

  it('leaves out what it cannot tell the address of', () => {
    for (const encoding of [0xff, 0x9b, 0x4b, 0x6b, 0x0e]) {
      const opened = section(new CallFrames(true).cie({ augmentationData: [encoding] }).fde(START, 16, []));
      assert.equal(opened.count, 0);
      assert.equal(opened.problems.skipped, 1);
    }
  });

  it('reads personality and language data over', () => {
    const augmentationData = [0x9b, ...little(77, 4), 0x1b, 0x1b];
    const opened = section(new CallFrames(true).cie({ augmentation: 'zPLR', augmentationData }).fde(START, 16, []));
    assert.deepEqual([...opened.starts], [START]);
  });

  it('leaves out functions of CIEs that it does not understand', () => {
    for (const options of [
      { version: 2 },
      { version: 9 },
      { augmentation: 'armcc' },
      { augmentation: 'zX', augmentationData: [0] },
    ]) {
      const opened = section(
        new CallFrames(true)
          .cie(options)
          .fde(START, 16, [])
          .cie()
          .fde(START + 32, 16, []),
      );
      assert.deepEqual([...opened.starts], [START + 32], JSON.stringify(options));
      assert.equal(opened.problems.skipped, 1);
    }
  });

  it('reads on behind a terminator in the middle, but not where the size is only a bound', () => {
    const frames = new CallFrames(true)
      .cie()
      .fde(START, 16, [])
      .terminator()
      .cie()
      .fde(START + 32, 16, []);
    assert.equal(section(frames).count, 2);
    const bytes = Uint8Array.from(frames.bytes);
    const window = new SectionWindow(bytesSource(bytes), 0, bytes.length, frames.address);
    assert.equal(new FrameSection(window, true, { text: 0, data: 0 }, text, true).count, 1);
  });

  it('stops where an entry leaves the section, and keeps what came before', () => {
    const frames = new CallFrames(true).cie().fde(START, 16, []);
    frames.bytes.push(0xf0, 0xff, 0xff, 0x7f, 1, 2, 3, 4);
    const opened = section(frames);
    assert.equal(opened.count, 1);
    assert.equal(opened.problems.malformed, 1);
  });

  it('leaves out functions outside of the text', () => {
    const frames = new CallFrames(false)
      .cie()
      .fde(0, 16, [])
      .fde(START, 16, [])
      .fde(0x9000, 16, [])
      .fde(START + 64, 0, []);
    assert.deepEqual([...section(frames).starts], [START]);
  });
});
