// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { crc32 } from 'node:zlib';
import { debugLinkCrc, findMiniDebugInfo, readDebugLink } from './debug-link.ts';
import { elfImage } from './elf-image.fixture.ts';
import { PT_NOTE, parseElf, SHT_NOTE } from './file.ts';
import { readBuildIds, visitNotes } from './notes.ts';
import { bytesSource } from './source.ts';

function note(name: string, type: number, description: Uint8Array): Buffer {
  const bytes = Buffer.alloc(12 + Math.ceil((name.length + 1) / 4) * 4 + Math.ceil(description.length / 4) * 4);
  bytes.writeUInt32LE(name.length + 1, 0);
  bytes.writeUInt32LE(description.length, 4);
  bytes.writeUInt32LE(type, 8);
  bytes.write(name, 12);
  bytes.set(description, 12 + Math.ceil((name.length + 1) / 4) * 4);
  return bytes;
}

const id = Uint8Array.of(0xde, 0xad, 0xbe, 0xef, 1);
const notes = Buffer.concat([
  note('stapsdt', 3, Uint8Array.of(9)),
  note('GNU', 3, id),
  note('Go', 4, Buffer.from('a/b/c/d')),
]);

describe('readBuildIds', () => {
  it('finds both ids in note sections, and in segments without sections', () => {
    const section = { name: '.note', type: SHT_NOTE, bytes: notes };
    for (const options of [
      { sections: [section] },
      { sections: [section], programHeaders: [{ type: PT_NOTE, section: '.note' }], stripSections: true },
    ]) {
      const source = bytesSource(elfImage(options));
      assert.deepEqual(readBuildIds(parseElf(source), source), { gnu: 'deadbeef01', go: 'a/b/c/d' });
    }
  });

  it('is empty where notes are damaged', () => {
    const bytes = Buffer.from(notes);
    bytes.writeUInt32LE(0xffffffff, 0);
    const source = bytesSource(elfImage({ sections: [{ name: '.note', type: SHT_NOTE, bytes }] }));
    assert.deepEqual(readBuildIds(parseElf(source), source), { gnu: '', go: '' });
  });

  it('stops at a note that leaves the bytes', () => {
    const seen: string[] = [];
    visitNotes(notes.subarray(0, notes.length - 2), 4, (name) => void seen.push(name));
    assert.deepEqual(seen, ['stapsdt', 'GNU']);
  });
});

describe('debug links', () => {
  it('reads the name and the checksum of a debug file', () => {
    const bytes = Buffer.alloc(16);
    bytes.write('libx.debug');
    bytes.writeUInt32LE(0x12345678, 12);
    const source = bytesSource(elfImage({ sections: [{ name: '.gnu_debuglink', bytes }] }));
    assert.deepEqual(readDebugLink(parseElf(source), source), { name: 'libx.debug', crc: 0x12345678 });
  });

  it('refuses names with directories and links without checksum', () => {
    for (const bytes of [Buffer.from('../x\0\0\0\0\0\0\0\0'), Buffer.from('abc\0')]) {
      const source = bytesSource(elfImage({ sections: [{ name: '.gnu_debuglink', bytes }] }));
      assert.equal(readDebugLink(parseElf(source), source), undefined);
    }
  });

  it('sums a file in chunks', () => {
    const bytes = Buffer.alloc((1 << 20) + 77, 'plumb');
    assert.equal(debugLinkCrc(bytesSource(bytes)), crc32(bytes));
  });

  it('finds mini debug information', () => {
    const source = bytesSource(elfImage({ sections: [{ name: '.gnu_debugdata', bytes: Uint8Array.of(1) }] }));
    assert.equal(findMiniDebugInfo(parseElf(source))?.size, 1);
    assert.equal(findMiniDebugInfo(parseElf(bytesSource(elfImage({ sections: [] })))), undefined);
  });
});
