// SPDX-License-Identifier: Apache-2.0
/**
 * Builds the images of the repository's Dockerfile without a daemon or a registry, by buildah, and packs them as archives
 * that `RealNode.importImage` takes.
 *
 * The Dockerfile's base images are stood in for: Debian by mmdebstrap from the same packages, Node.js by the working
 * tree's own. Its stage `build` is replaced by what the working tree has built already (`make bundle`), so an image
 * takes seconds. Needs: root, buildah, mmdebstrap.
 */
import { execFile } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { writeOciImage } from './oci-image.ts';
import { cacheDirectory } from './tools.ts';

const run = promisify(execFile);
const REPOSITORY = join(import.meta.dirname, '..', '..');
const IMAGES = join(cacheDirectory, 'images');
const STORAGE = join(cacheDirectory, 'buildah');
const BASE = 'docker.io/library/debian:bookworm-slim';

export type ImageName = 'agent' | 'operator';

export interface BuiltImage {
  /** As pods name it; the chart's values are `image.repository` and `image.tag`. */
  readonly repository: string;
  readonly tag: string;
  /** A docker-archive on disk. */
  readonly archive: string;
}

/** Builds both images from the working tree. @throws Error with the build's output, or when something is not built yet. */
export async function buildImages(): Promise<Record<ImageName, BuiltImage>> {
  await run(process.execPath, ['scripts/bundle.ts'], { cwd: REPOSITORY });
  const contexts = mkdtempSync(join(tmpdir(), 'plumbline-images-'));
  try {
    const built = join(contexts, 'build');
    const node = join(contexts, 'node');
    stageBuild(built);
    cpSync(process.execPath, join(node, 'usr/local/bin/node'));
    await ensureBaseImage();
    await build('libraries', 'localhost/plumbline-libraries'); // named, so that it survives the pruning of layers
    const images = {
      agent: await buildImage('agent', { build: built, node }),
      operator: await buildImage('operator', { build: built, node }),
    };
    await buildah('rmi', '--prune');
    return images;
  } finally {
    rmSync(contexts, { recursive: true });
  }
}

/** What the Dockerfile's stage `build` would leave, as far as images take it. */
function stageBuild(directory: string): void {
  const objects = join(REPOSITORY, 'packages/bpf/build');
  const wanted = readdirSync(objects).filter((name) => name === 'addon.node' || name.endsWith('.bpf.o'));
  if (!wanted.includes('addon.node')) throw new Error(`${objects}/addon.node is missing: run scripts/setup.sh build`);
  for (const name of wanted) cpSync(join(objects, name), join(directory, 'plumbline/packages/bpf/build', name));
  cpSync(join(REPOSITORY, 'dist'), join(directory, 'plumbline/dist'), { recursive: true });
}

async function buildImage(target: ImageName, contexts: Record<string, string>): Promise<BuiltImage> {
  const repository = `localhost/plumbline-${target}`;
  const tag = 'dev';
  await build(target, `${repository}:${tag}`, contexts);
  const archive = join(IMAGES, `plumbline-${target}.tar`);
  rmSync(`${archive}.new`, { force: true });
  await buildah('push', '--quiet', `${repository}:${tag}`, `docker-archive:${archive}.new:${repository}:${tag}`);
  renameSync(`${archive}.new`, archive);
  return { repository, tag, archive };
}

function build(stage: string, image: string, contexts: Record<string, string> = {}): Promise<string> {
  const given = Object.entries(contexts).map(([name, path]) => `--build-context=${name}=${path}`);
  return buildah(
    'bud',
    '--isolation=chroot',
    '--pull=never',
    '--layers',
    `--target=${stage}`,
    ...given,
    '--tag',
    image,
    REPOSITORY,
  );
}

/** A minimal Debian under the name that the Dockerfile asks for, made once per machine. */
async function ensureBaseImage(): Promise<void> {
  const present = await buildah('images', '--quiet', BASE).catch(() => '');
  if (present.trim()) return;
  const archive = join(IMAGES, 'debian.tar');
  mkdirSync(IMAGES, { recursive: true });
  if (!existsSync(archive)) {
    const rootfs = mkdtempSync(join(tmpdir(), 'plumbline-debian-'));
    try {
      await run('mmdebstrap', ['--quiet', '--variant=apt', 'bookworm', rootfs]);
      await writeOciImage({ reference: BASE, rootfs, entrypoint: ['/bin/sh'] }, archive);
    } finally {
      rmSync(rootfs, { recursive: true });
    }
  }
  const id = await buildah('pull', '--quiet', `oci-archive:${archive}`);
  await buildah('tag', id.trim(), BASE);
}

/** Runs buildah on a store of its own, so that nothing is left where the machine's containers are. */
async function buildah(...args: string[]): Promise<string> {
  const store = ['--root', STORAGE, '--runroot', `${STORAGE}-run`, '--storage-driver', 'vfs'];
  const { stdout } = await run('buildah', [...store, ...args], { maxBuffer: 2 ** 26 });
  return stdout;
}

if (import.meta.main) {
  const started = performance.now();
  for (const { repository, tag, archive } of Object.values(await buildImages())) {
    process.stdout.write(`${repository}:${tag} ${archive}\n`);
  }
  process.stderr.write(`built in ${((performance.now() - started) / 1000).toFixed(1)} s\n`);
}
