// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { systemClock } from '../clock.ts';
import { AgentError } from '../errors.ts';
import { createLogger } from '../log.ts';
import { FileConfigSource, loadConfigFile } from './file.ts';
import type { EffectiveConfig } from './source.ts';

interface Scene {
  readonly directory: string;
  readonly path: string;
  readonly log: { level: string; message: string; error?: { message: string } }[];
  readonly source: FileConfigSource;
  readonly abort: AbortController;
  /** The next configuration; fails after ten seconds without one. */
  next(): Promise<EffectiveConfig>;
}

function scene(
  t: TestContext,
  text: string | undefined,
  write = (path: string) => text !== undefined && writeFileSync(path, text),
): Scene {
  const directory = mkdtempSync(join(tmpdir(), 'plumbline-config-'));
  const path = join(directory, 'node.yaml');
  write(path);
  const log: Scene['log'] = [];
  const logger = createLogger({
    level: 'debug',
    format: 'json',
    write: (line) => log.push(JSON.parse(line)),
    repeatWindowMs: 0,
  });
  const source = new FileConfigSource({
    path,
    stateDirectory: join(directory, 'state'),
    log: logger,
    clock: systemClock,
  });
  const abort = new AbortController();
  const stream = source.configs(AbortSignal.any([abort.signal, AbortSignal.timeout(10_000)]));
  t.after(async () => {
    abort.abort();
    await stream.return(undefined);
    rmSync(directory, { recursive: true });
  });
  const next = async () => {
    const { value, done } = await stream.next();
    assert.ok(!done, 'no configuration came');
    return value;
  };
  return { directory, path, log, source, abort, next };
}

const hz = (frequencyHz: number) => `sampling: { frequencyHz: ${frequencyHz} }\n`;

test('the file is read at start and again when it is written in place or replaced', async (t) => {
  const { path, next, source } = scene(t, hz(10));
  const first = await next();
  assert.equal(first.spec.sampling.frequencyHz, 10);
  assert.equal(first.origin, `file ${path}`);
  writeFileSync(path, hz(11));
  assert.equal((await next()).spec.sampling.frequencyHz, 11);
  writeFileSync(`${path}.new`, hz(12));
  renameSync(`${path}.new`, path);
  assert.equal((await next()).spec.sampling.frequencyHz, 12);
  assert.equal(source.problem, undefined);
});

test('a ConfigMap mount, which renames a link to a folder, is followed', async (t) => {
  const { directory, next } = scene(t, undefined, (path) => {
    const at = join(path, '..');
    mkdirSync(join(at, '..1'));
    writeFileSync(join(at, '..1/node.yaml'), hz(10));
    symlinkSync('..1', join(at, '..data'));
    symlinkSync('..data/node.yaml', path);
  });
  assert.equal((await next()).spec.sampling.frequencyHz, 10);
  mkdirSync(join(directory, '..2'));
  writeFileSync(join(directory, '..2/node.yaml'), hz(11));
  symlinkSync('..2', join(directory, '..new'));
  renameSync(join(directory, '..new'), join(directory, '..data'));
  assert.equal((await next()).spec.sampling.frequencyHz, 11);
});

test('a bad file is refused with its reason, once, and the one before stays until a good one comes', async (t) => {
  const { path, next, source, log } = scene(t, hz(10));
  await next();
  writeFileSync(path, hz(5000));
  source.reload();
  source.reload();
  assert.match(source.problem?.message ?? '', /node\.yaml:1: sampling\.frequencyHz: must be at most 997/);
  assert.equal(log.filter(({ level }) => level === 'error').length, 1);
  writeFileSync(path, hz(13));
  assert.equal((await next()).spec.sampling.frequencyHz, 13);
  assert.equal(source.problem, undefined);
});

test('an unchanged meaning is not a new configuration', async (t) => {
  const { path, next, source } = scene(t, hz(10));
  await next();
  writeFileSync(path, `# a comment\n${hz(10)}`);
  source.reload();
  writeFileSync(path, hz(11));
  source.reload();
  assert.equal((await next()).spec.sampling.frequencyHz, 11);
});

test('without a usable file and without a last good one there is no start', async (t) => {
  await assert.rejects(scene(t, undefined).next(), { code: 'config_unreadable', message: /no such file/ });
  await assert.rejects(scene(t, 'samplng: {}').next(), { code: 'config_invalid' });
  assert.throws(() => loadConfigFile('/'), { message: /is a directory/ });
});

test('the last configuration that was applied is started with when the file is bad', async (t) => {
  const first = scene(t, hz(10));
  const config = await first.next();
  first.source.applied(config);
  writeFileSync(first.path, hz(5000));

  const log = createLogger({ level: 'error', format: 'json', write: () => {} });
  const options = { path: first.path, stateDirectory: join(first.directory, 'state'), log, clock: systemClock };
  const again = new FileConfigSource(options);
  const stream = again.configs(AbortSignal.timeout(10_000));
  const { value } = await stream.next();
  assert.equal(value?.spec.configHash, config.spec.configHash);
  assert.match(value?.origin ?? '', /^last good configuration of file /);
  assert.match(again.problem?.message ?? '', /must be at most 997/);
  await stream.return(undefined);

  // That of another file is not taken.
  const other = new FileConfigSource({ ...options, path: join(first.directory, 'other.yaml') });
  await assert.rejects(other.configs(AbortSignal.timeout(10_000)).next(), { code: 'config_unreadable' });
});

test('a refusal by the agent is the problem of the source', async (t) => {
  const { next, source } = scene(t, hz(10));
  const config = await next();
  source.refused(config, new AgentError('strategy_unavailable', 'no loop here'));
  assert.equal(source.problem?.message, 'no loop here');
});

test('a state folder that cannot be written is a warning', async (t) => {
  const { directory, next, source, log } = scene(t, hz(10));
  const config = await next();
  writeFileSync(join(directory, 'state'), 'a file');
  source.applied(config);
  assert.match(
    log.find(({ level }) => level === 'warn')?.error?.message ?? '',
    /cannot keep the last good configuration/,
  );
});

test('the stream ends when it is stopped', async (t) => {
  const { next, abort } = scene(t, hz(10));
  await next();
  const pending = next();
  abort.abort();
  await assert.rejects(pending, /no configuration came/);
});
