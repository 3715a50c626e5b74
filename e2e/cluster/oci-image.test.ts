// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { writeOciImage } from './oci-image.ts';

describe('writeOciImage', () => {
  let directory: string;
  let rootfs: string;
  before(() => {
    directory = mkdtempSync(join(tmpdir(), 'plumbline-oci-'));
    rootfs = join(directory, 'rootfs');
    mkdirSync(join(rootfs, 'bin'), { recursive: true });
    writeFileSync(join(rootfs, 'bin', 'program'), 'x'.repeat(100_000), { mode: 0o755 });
  });
  after(() => rmSync(directory, { recursive: true }));
  const image = () => ({
    reference: 'localhost/x:1',
    rootfs,
    entrypoint: ['/bin/program'],
    user: '65532',
    environment: { A: 'b' },
  });

  it('gives the same bytes whenever the files were written', async () => {
    const first = await writeOciImage(image(), join(directory, 'first.tar'));
    utimesSync(join(rootfs, 'bin', 'program'), 1, 1);
    assert.equal(await writeOciImage(image(), join(directory, 'second.tar')), first);
  });

  it('names every blob by its contents and links them from the index', async () => {
    const archive = join(directory, 'image.tar');
    const digest = await writeOciImage(image(), archive);
    const layout = join(directory, 'layout');
    mkdirSync(layout);
    execFileSync('tar', ['-xf', archive, '-C', layout]);
    const blobs = join(layout, 'blobs', 'sha256');
    for (const name of readdirSync(blobs)) {
      assert.equal(
        createHash('sha256')
          .update(readFileSync(join(blobs, name)))
          .digest('hex'),
        name,
      );
    }
    const json = (reference: { digest: string }) =>
      JSON.parse(readFileSync(join(blobs, reference.digest.slice('sha256:'.length)), 'utf8'));
    const [entry] = JSON.parse(readFileSync(join(layout, 'index.json'), 'utf8')).manifests;
    assert.equal(entry.digest, digest);
    assert.equal(entry.annotations['io.containerd.image.name'], 'localhost/x:1');
    const manifest = json(entry);
    const { config, rootfs: layers } = json(manifest.config);
    assert.deepEqual(layers.diff_ids, [manifest.layers[0].digest]);
    assert.deepEqual(config, {
      Entrypoint: ['/bin/program'],
      Env: ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', 'A=b'],
      User: '65532',
    });
    const files = execFileSync('tar', ['-tvf', join(blobs, layers.diff_ids[0].slice('sha256:'.length))], {
      encoding: 'utf8',
    });
    assert.match(files, /^-rwxr-xr-x 0\/0 +100000 1970-01-01 00:00 \.\/bin\/program$/m);
    assert.deepEqual(
      readdirSync(directory).filter((name) => name.startsWith('image.tar.')),
      [],
      'no temporary files',
    );
  });
});
