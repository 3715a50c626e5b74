// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { openOutputFile, standardOutput } from './output-file.ts';

function temporary(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'plumbline-output-'));
  t.after(() => rmSync(directory, { recursive: true }));
  return directory;
}

test('a file appears under its name when it is whole, and leaves nothing else behind', async (t) => {
  const directory = temporary(t);
  const output = await openOutputFile(join(directory, 'a.folded'));
  assert.ok(!readdirSync(directory).includes('a.folded'));
  assert.equal(await output.write(['main;é 1\n', new Uint8Array([65, 10])]), 12);
  await output.discard();
  assert.deepEqual(readdirSync(directory), ['a.folded']);
  assert.equal(readFileSync(join(directory, 'a.folded'), 'utf8'), 'main;é 1\nA\n');
});

test('a recording that fails leaves an existing file as it was', async (t) => {
  const path = join(temporary(t), 'a');
  writeFileSync(path, 'before');
  await (await openOutputFile(path)).discard();
  const failing = await openOutputFile(path);
  const pieces = (async function* () {
    yield 'half';
    throw new TypeError('encoder is broken');
  })();
  await assert.rejects(failing.write(pieces), TypeError);
  assert.equal(readFileSync(path, 'utf8'), 'before');
});

test('a symbolic link stays one', async (t) => {
  const directory = temporary(t);
  writeFileSync(join(directory, 'real'), '');
  symlinkSync('real', join(directory, 'link'));
  await (await openOutputFile(join(directory, 'link'))).write(['x']);
  assert.equal(readFileSync(join(directory, 'real'), 'utf8'), 'x');
  assert.deepEqual(readdirSync(directory).sort(), ['link', 'real']);
});

test('paths that cannot be written are refused with what to do', async (t) => {
  const directory = temporary(t);
  mkdirSync(join(directory, 'sub'));
  writeFileSync(join(directory, 'file'), '');
  const cases: [string, RegExp][] = [
    [join(directory, 'missing/a'), /mkdir -p .*missing/],
    [join(directory, 'file/a'), /not a directory/],
    [join(directory, 'sub'), /is a directory/],
    [join(directory, 'n'.repeat(300)), /shorter name/],
    ['/proc/plumbline', /choose|create/],
  ];
  for (const [path, pattern] of cases) {
    await assert.rejects(openOutputFile(path), (error: { code: string; toLine(): string }) => {
      assert.equal(error.code, 'output_unwritable', path);
      assert.match(error.toLine(), pattern);
      return true;
    });
  }
});

test('devices are written in place, and a full one is an error', async () => {
  assert.equal(await (await openOutputFile('/dev/null')).write(['abc']), 3);
  await assert.rejects((await openOutputFile('/dev/full')).write(['abc']), {
    code: 'output_unwritable',
    message: /no space left/,
  });
});

test('standard output whose reader has gone is not an error', async () => {
  const fail = (code: string) => ({
    write: (_text: string | Uint8Array, done?: (error?: Error | null) => void) => {
      done?.(Object.assign(new Error(code), { code }));
      return false;
    },
  });
  assert.equal(await standardOutput(fail('EPIPE')).write(['abc']), 3);
  await assert.rejects(standardOutput(fail('EIO')).write(['abc']), { code: 'output_unwritable' });
});
