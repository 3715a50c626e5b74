// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { realpathSync } from 'node:fs';
import { test } from 'node:test';
import fc from 'fast-check';
import { displayName, parseCommandLine, parseStat, readProcessIdentity } from './process-identity.ts';

const TAIL = 'S 1 2 2 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 98765 1000 10';

test('a running child is described', async (t) => {
  const child = spawn('/bin/sleep', ['600'], { argv0: 'a name' });
  t.after(() => child.kill());
  await new Promise((resolve) => child.once('spawn', resolve));
  const identity = readProcessIdentity(child.pid as number);
  assert.ok(identity);
  assert.equal(identity.name, 'sleep');
  assert.equal(identity.parent, process.pid);
  assert.equal(identity.threadGroup, child.pid);
  assert.equal(identity.executable, realpathSync('/bin/sleep'));
  assert.deepEqual(identity.commandLine, ['a name', '600']);
  assert.equal(identity.kernelThread, false);
  assert.equal(identity.executableDeleted, false);
  assert.equal(readProcessIdentity(child.pid as number)?.startTicks, identity.startTicks);
});

test('no process, no identity', () => assert.equal(readProcessIdentity(2 ** 22 + 1), undefined));

test('a name may hold anything, closing parentheses and blanks too', () => {
  assert.deepEqual(parseStat(`7 (a) b) (c) ${TAIL}\n`), {
    name: 'a) b) (c',
    state: 'S',
    parent: 1,
    kernelThread: false,
    startTicks: 98765n,
  });
  assert.equal(parseStat(`2 (kthreadd) ${TAIL.replace('4194560', '2129984')}`)?.kernelThread, true);
});

test('parsers return a value or undefined for any input', () => {
  fc.assert(fc.property(fc.string(), (text) => void parseStat(text)));
  fc.assert(fc.property(fc.string(), (name) => assert.equal(parseStat(`1 (${name}) ${TAIL}`)?.name, name)));
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 6000 }), (bytes) => {
      assert.ok(parseCommandLine(bytes).every((word) => !word.includes('\0')));
    }),
  );
});

test('a process is called by the program or script that its thread name is the beginning of', () => {
  const name = (name: string, executable: string, ...commandLine: string[]) =>
    displayName({ name, executable, commandLine });
  assert.equal(
    name('kube-controller', '/usr/bin/kube-controller-manager', 'kube-controller-manager'),
    'kube-controller-manager',
  );
  assert.equal(name('MainThread', '/usr/bin/node', 'node', 'server.js'), 'node');
  assert.equal(name('reportbug', '/usr/bin/python3.11', '/usr/bin/python3', '/usr/bin/reportbug'), 'reportbug');
  assert.equal(name('kworker/0:1', ''), 'kworker/0:1');
});
