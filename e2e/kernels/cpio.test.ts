// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, readlinkSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { it } from 'node:test';
import { CpioArchive } from './cpio.ts';

it('busybox unpacks what was packed', { skip: process.env.CI !== 'true' && !hasBusybox() }, () => {
  const directory = mkdtempSync(join(tmpdir(), 'plumbline-cpio-'));
  try {
    const path = join(directory, 'a.cpio');
    const archive = new CpioArchive(path);
    // Lengths of names and contents that need no, one, two and three bytes of padding.
    const files = Array.from({ length: 8 }, (_, i) => [`/deep/er/${'f'.repeat(i + 1)}`, 'x'.repeat(i)] as const);
    for (const [name, content] of files) archive.file(name, content, 0o640);
    archive.link('/deep/link', 'er/f');
    archive.close();
    execFileSync('busybox', ['cpio', '-i', '-d', '-F', path], { cwd: directory, stdio: 'ignore' });
    for (const [name, content] of files) {
      assert.equal(readFileSync(join(directory, name), 'utf8'), content);
      assert.equal(statSync(join(directory, name)).mode & 0o777, 0o640);
    }
    assert.equal(readlinkSync(join(directory, 'deep/link')), 'er/f');
    assert.ok(statSync(join(directory, 'deep/er')).isDirectory());
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});

it('a copy keeps content and mode', { skip: process.env.CI !== 'true' && !hasBusybox() }, () => {
  const directory = mkdtempSync(join(tmpdir(), 'plumbline-cpio-'));
  try {
    const source = join(directory, 'source');
    writeFileSync(source, Buffer.from([0, 1, 255]), { mode: 0o755 });
    const archive = new CpioArchive(join(directory, 'a.cpio'));
    archive.copy(source, '/copy');
    archive.close();
    execFileSync('busybox', ['cpio', '-i', '-F', 'a.cpio'], { cwd: directory, stdio: 'ignore' });
    assert.deepEqual(readFileSync(join(directory, 'copy')), Buffer.from([0, 1, 255]));
    assert.equal(statSync(join(directory, 'copy')).mode & 0o777, 0o755);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});

function hasBusybox(): boolean {
  try {
    execFileSync('busybox', ['true']);
    return true;
  } catch {
    return false;
  }
}
