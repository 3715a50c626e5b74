// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { findCommand, StoppedCommand } from './stopped-command.ts';

function temporary(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'plumbline-command-'));
  t.after(() => rmSync(directory, { recursive: true }));
  return directory;
}

test('a command does not run before it is resumed, keeps its process number, and reports its exit code', async (t) => {
  const file = join(temporary(t), 'ran');
  const command = await StoppedCommand.start(['sh', '-c', 'echo $$ "$1" > "$0"; exit 7', file, 'a  b'], 'stderr');
  assert.match(readFileSync(`/proc/${command.pid}/cmdline`, 'utf8'), /read -r go/);
  assert.equal(existsSync(file), false);
  command.resume();
  assert.equal(await command.exited, 7);
  assert.equal(readFileSync(file, 'utf8'), `${command.pid} a  b\n`);
});

test('the end by a signal is reported as a shell does', async () => {
  const command = await StoppedCommand.start(['sh', '-c', 'kill -KILL $$'], 'stderr');
  command.resume();
  assert.equal(await command.exited, 137);
  await command.terminate();
});

test('it can be ended before and after it runs', async () => {
  const waiting = await StoppedCommand.start(['sleep', '600'], 'stderr');
  await waiting.terminate();
  waiting.resume();
  assert.equal(await waiting.exited, 143);
  const running = await StoppedCommand.start(['sleep', '600'], 'stderr');
  running.resume();
  await running.terminate();
  assert.equal(await running.exited, 143);
});

test('when the profiler dies before it is ready, the command never runs', async (t) => {
  const file = join(temporary(t), 'ran');
  const script = `
    import { StoppedCommand } from ${JSON.stringify(new URL('./stopped-command.ts', import.meta.url).href)};
    const command = await StoppedCommand.start(['touch', ${JSON.stringify(file)}], 'stderr');
    console.log(command.pid);
    setInterval(() => {}, 1000);`;
  const profiler = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const pid = await new Promise<string>((resolve) =>
    profiler.stdout.once('data', (data) => resolve(String(data).trim())),
  );
  profiler.kill('SIGKILL');
  const deadline = Date.now() + 10_000;
  const alive = () => existsSync(`/proc/${pid}`) && !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  while (alive()) {
    assert.ok(Date.now() < deadline, 'the waiting shell has not ended');
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  assert.equal(existsSync(file), false);
});

test('commands are found as a shell finds them', () => {
  assert.match(findCommand('sh', '/nonexistent:/bin:/usr/bin'), /^\/(usr\/)?bin\/sh$/);
  assert.equal(findCommand('/bin/sh', undefined), '/bin/sh');
  assert.throws(() => findCommand('passwd', '/etc'), { message: /\/etc\/passwd: is not executable/ });
  assert.throws(() => findCommand('', '/bin'), { code: 'command_not_found' });
});
