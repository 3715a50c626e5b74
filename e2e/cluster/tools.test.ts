// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';

const TOOLS = join(import.meta.dirname, 'tools.ts');

describe('tools', { timeout: 120_000 }, () => {
  let cache: string;
  let programs: string;
  before(() => {
    cache = mkdtempSync(join(tmpdir(), 'plumbline-tools-'));
    programs = join(cache, 'programs');
    // An apt-get that delivers a package with one file and takes a moment, noting every call; dpkg is the real one.
    mkdirSync(programs);
    const script = `#!/bin/sh
      echo download >> ${cache}/calls
      sleep 0.5
      mkdir -p package/DEBIAN package/bin
      printf 'Package: x\\nVersion: 1\\nArchitecture: all\\nMaintainer: x <x@example.com>\\nDescription: x\\n' > package/DEBIAN/control
      echo content > package/bin/busybox
      dpkg-deb --build package x.deb > /dev/null && rm -r package`;
    writeFileSync(join(programs, 'apt-get'), script, { mode: 0o755 });
  });
  after(() => rmSync(cache, { recursive: true }));
  const environment = (more: Record<string, string> = {}) => ({
    ...process.env,
    XDG_CACHE_HOME: cache,
    PATH: `${programs}:${process.env.PATH}`,
    ...more,
  });

  it('builds a tool once for two programs that want it at the same time, and publishes it whole', async () => {
    const both = [1, 2].map(() =>
      spawn(process.execPath, [TOOLS, 'busybox'], { env: environment(), stdio: ['ignore', 'ignore', 'inherit'] }),
    );
    for (const [code] of await Promise.all(both.map((child) => once(child, 'close')))) assert.equal(code, 0);
    const { stdout } = spawnSync(
      'cat',
      [join(cache, 'calls'), join(cache, 'plumbline/tools/busybox-debian/bin/busybox')],
      { encoding: 'utf8' },
    );
    assert.equal(stdout, 'download\ncontent\n');
    assert.deepEqual(
      readdirSync(join(cache, 'plumbline/tools')),
      ['busybox-debian'],
      'no lock and no temporary folder',
    );
  });

  it('takes over from a builder that died', () => {
    rmSync(join(cache, 'plumbline/tools/busybox-debian'), { recursive: true });
    const dead = spawnSync('true');
    writeFileSync(join(cache, 'plumbline/tools/busybox-debian.lock'), String(dead.pid));
    assert.equal(spawnSync(process.execPath, [TOOLS, 'busybox'], { env: environment() }).status, 0);
  });

  it('uses the programs that KUBEBUILDER_ASSETS names', () => {
    writeFileSync(join(cache, 'kube-apiserver'), '');
    const env = environment({ KUBEBUILDER_ASSETS: cache });
    const { stdout } = spawnSync(process.execPath, [TOOLS, 'kube-apiserver'], { env, encoding: 'utf8' });
    assert.equal(stdout, `kube-apiserver ${join(cache, 'kube-apiserver')}\n`);
  });

  it('says which command failed and how', () => {
    writeFileSync(join(programs, 'apt-get'), '#!/bin/sh\necho no such package >&2; exit 100', { mode: 0o755 });
    const { status, stderr } = spawnSync(process.execPath, [TOOLS, 'runc'], { env: environment(), encoding: 'utf8' });
    assert.equal(status, 1);
    assert.match(stderr, /apt-get .*download -qq runc: exit 100\nno such package/);
    assert.deepEqual(
      readdirSync(join(cache, 'plumbline/tools')).filter((name) => name.startsWith('runc')),
      [],
    );
  });

  it('refuses names that it does not know', () => {
    const { status, stderr } = spawnSync(process.execPath, [TOOLS, 'docker'], { encoding: 'utf8' });
    assert.equal(status, 2);
    assert.match(stderr, /unknown: docker; known: kube-apiserver, etcd/);
  });
});
