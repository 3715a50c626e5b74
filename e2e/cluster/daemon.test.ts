// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { Daemon } from './daemon.ts';
import { waitUntil } from './wait-until.ts';

describe('Daemon', { timeout: 60_000 }, () => {
  let directory: string;
  before(() => {
    directory = mkdtempSync(join(tmpdir(), 'plumbline-daemon-'));
  });
  after(() => rmSync(directory, { recursive: true }));
  const start = (name: string, script: string) =>
    Daemon.start({ name, command: 'sh', args: ['-c', script], directory });

  it('is found again by its pid file until it is stopped', async () => {
    const daemon = start('found', 'exec sleep 1000');
    assert.equal(Daemon.find(directory, 'found')?.pid, daemon.pid);
    assert.equal(daemon.isRunning(), true);
    await daemon.stop();
    assert.equal(daemon.isRunning(), false);
    assert.equal(Daemon.find(directory, 'found'), undefined);
  });

  it('is killed when it ignores the request to end', async () => {
    const daemon = start('stubborn', 'trap "" TERM; echo armed; while :; do sleep 1; done');
    await daemon.waitUntilReady(() => daemon.logTail().includes('armed'));
    await daemon.stop('SIGTERM', 200);
    assert.equal(daemon.isRunning(), false);
  });

  it('reports the end of its log when it ends instead of becoming ready', async () => {
    const daemon = start('broken', 'echo no such luck; exit 1');
    await assert.rejects(
      daemon.waitUntilReady(() => false),
      /broken ended while it was starting\n(.*\n)*no such luck/,
    );
    await daemon.stop();
  });

  it('ends with the program that started it, even when that is killed', async () => {
    const options = JSON.stringify({
      name: 'child',
      command: 'sh',
      args: ['-c', 'echo armed; exec sleep 1000'],
      directory,
    });
    const program = `
      const { Daemon } = await import(${JSON.stringify(join(import.meta.dirname, 'daemon.ts'))});
      const daemon = Daemon.start(${options});
      await daemon.waitUntilReady(() => daemon.logTail().includes('armed'));
      process.kill(process.pid, 'SIGKILL');`;
    const parent = spawn(process.execPath, ['--input-type=module', '--eval', program], { stdio: 'inherit' });
    assert.deepEqual(await once(parent, 'exit'), [null, 'SIGKILL']);
    await waitUntil('the daemon to end', () => Daemon.find(directory, 'child') === undefined);
  });
});
