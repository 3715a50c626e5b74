// SPDX-License-Identifier: Apache-2.0
/** Writes container images as OCI image layout archives (OCI image-spec 1.1), without a registry or a daemon. */
import { execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createWriteStream, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';

export interface OciImage {
  /** With a domain, e.g. `localhost/name:tag`: container runtimes complete a bare name to a public registry's. */
  readonly reference: string;
  /** Folder whose contents become the image's only layer, owned by root. */
  readonly rootfs: string;
  readonly entrypoint: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  /** `uid[:gid]`; default root. */
  readonly user?: string;
}

interface Descriptor {
  readonly digest: string;
  readonly size: number;
}

const MEDIA = 'application/vnd.oci.image';
const ARCHITECTURE = process.arch === 'x64' ? 'amd64' : process.arch;

/** Writes `image` as a tar archive to `output` (replaced if it exists). @returns the manifest's digest. */
export async function writeOciImage(image: OciImage, output: string): Promise<string> {
  mkdirSync(dirname(output), { recursive: true });
  const layout = mkdtempSync(`${output}.`);
  const blobs = join(layout, 'blobs', 'sha256');
  try {
    mkdirSync(blobs, { recursive: true });
    const layer = await writeLayer(image.rootfs, blobs);
    const config = writeJsonBlob(blobs, {
      architecture: ARCHITECTURE,
      os: 'linux',
      config: {
        Entrypoint: image.entrypoint,
        Env: Object.entries({
          PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
          ...image.environment,
        }).map(([k, v]) => `${k}=${v}`),
        User: image.user,
      },
      rootfs: { type: 'layers', diff_ids: [layer.digest] }, // not compressed: the digest of its contents is its own
      history: [{ created_by: 'tar' }], // one entry per layer, else buildah builds nothing on top
    });
    const manifest = writeJsonBlob(blobs, {
      schemaVersion: 2,
      mediaType: `${MEDIA}.manifest.v1+json`,
      config: { mediaType: `${MEDIA}.config.v1+json`, ...config },
      layers: [{ mediaType: `${MEDIA}.layer.v1.tar`, ...layer }],
    });
    const entry = {
      mediaType: `${MEDIA}.manifest.v1+json`,
      ...manifest,
      platform: { architecture: ARCHITECTURE, os: 'linux' },
      annotations: { 'io.containerd.image.name': image.reference },
    };
    writeFileSync(join(layout, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
    writeFileSync(join(layout, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests: [entry] }));
    execFileSync('tar', ['-C', layout, '-cf', `${layout}.tar`, 'oci-layout', 'index.json', 'blobs']);
    renameSync(`${layout}.tar`, output);
    return manifest.digest;
  } finally {
    rmSync(layout, { recursive: true, force: true });
  }
}

/** The same folder gives the same bytes: names sorted, times and owners zero. */
async function writeLayer(rootfs: string, blobs: string): Promise<Descriptor> {
  const fixed = ['--sort=name', '--mtime=@0', '--owner=0', '--group=0', '--numeric-owner', '--format=posix'];
  const headers = ['--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime'];
  const tar = spawn('tar', [...fixed, ...headers, '-C', rootfs, '-cf', '-', '.'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const closed = once(tar, 'close');
  const hash = createHash('sha256');
  let size = 0;
  const measure = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      hash.update(chunk);
      size += chunk.length;
      done(null, chunk);
    },
  });
  const temporary = join(blobs, 'layer');
  await pipeline(tar.stdout, measure, createWriteStream(temporary));
  const [code] = await closed;
  if (code !== 0) throw new Error(`tar of ${rootfs}: exit ${code}`);
  const hex = hash.digest('hex');
  renameSync(temporary, join(blobs, hex));
  return { digest: `sha256:${hex}`, size };
}

function writeJsonBlob(blobs: string, value: unknown): Descriptor {
  const bytes = Buffer.from(JSON.stringify(value));
  const hex = createHash('sha256').update(bytes).digest('hex');
  writeFileSync(join(blobs, hex), bytes);
  return { digest: `sha256:${hex}`, size: bytes.length };
}
