// SPDX-License-Identifier: Apache-2.0
/**
 * Fetches Debian's kernels through apt, from the mirror that this machine uses, without touching the system's own package
 * lists. Cache: `${XDG_CACHE_HOME:-~/.cache}/plumbline/kernels/SERIES/vmlinuz-RELEASE`; what is there is used.
 *
 *   node e2e/kernels/kernel-image.ts [--refresh]     fetches what is missing, or the newest of all
 */
import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import { cacheDirectory } from '../cluster/tools.ts';
import { KERNELS, type Kernel } from './kernels.ts';

const CACHE = join(cacheDirectory, 'kernels');
const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg';
/** Of one command; packages are up to 110 MB. */
const TIMEOUT = 300_000;

const execute = promisify(execFile);

async function run(command: string, args: readonly string[], cwd?: string): Promise<string> {
  try {
    const { stdout } = await execute(command, args, { cwd, timeout: TIMEOUT, maxBuffer: 64 << 20 });
    return stdout;
  } catch (error) {
    const { stderr = '' } = error as { stderr?: string };
    throw new Error(`${[command, ...args].join(' ')}\n${stderr || error}`);
  }
}

/** The mirror of Debian's main archive among the machine's own sources. */
async function mirror(): Promise<string> {
  const uris = (await run('apt-get', ['indextargets', '--format', '$(REPO_URI)'])).split('\n');
  const found = uris.find((uri) => /\/debian\/?$/.test(uri));
  return found ?? 'http://deb.debian.org/debian';
}

/** A state of apt of its own, for one suite. */
class Apt {
  readonly #options: readonly string[];
  readonly directory: string;

  private constructor(directory: string) {
    this.directory = directory;
    this.#options = [
      `Dir::Etc::sourcelist=${directory}/sources.list`,
      'Dir::Etc::sourceparts=/dev/null',
      `Dir::State::lists=${directory}/lists`,
      `Dir::State::status=${directory}/status`,
      `Dir::Cache=${directory}/cache`,
      'APT::Sandbox::User=root',
      'Acquire::Languages=none',
      'Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false',
      'Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled=false',
    ].flatMap((option) => ['-o', option]);
  }

  static async open(directory: string, suite: string): Promise<Apt> {
    for (const folder of ['lists/partial', 'cache/archives/partial', 'packages', 'root'])
      mkdirSync(join(directory, folder), { recursive: true });
    writeFileSync(join(directory, 'status'), '');
    const signed = existsSync(KEYRING) ? `[signed-by=${KEYRING}] ` : '';
    writeFileSync(join(directory, 'sources.list'), `deb ${signed}${await mirror()} ${suite} main\n`);
    const apt = new Apt(directory);
    await run('apt-get', [...apt.#options, 'update', '-qq']);
    return apt;
  }

  async names(prefix: string): Promise<string[]> {
    return (await run('apt-cache', [...this.#options, 'pkgnames', prefix])).split('\n').filter(Boolean);
  }

  /** Downloads and unpacks the kernel of a package; returns the paths of the kernels found. */
  async unpackKernel(name: string): Promise<string[]> {
    const packages = join(this.directory, 'packages');
    await run('apt-get', [...this.#options, 'download', '-qq', name], packages);
    const file = readdirSync(packages).find((entry) => entry.startsWith(`${name}_`));
    if (file === undefined) throw new Error(`apt-get has not downloaded ${name}`);
    const path = join(packages, file);
    const root = join(this.directory, 'root');
    await run('sh', [
      '-c',
      'dpkg-deb --fsys-tarfile "$1" | tar -x -C "$2" --wildcards "*/vmlinuz*" 2>/dev/null || true',
      'sh',
      path,
      root,
    ]);
    const found = (readdirSync(root, { recursive: true }) as string[]).filter((entry) =>
      basename(entry).startsWith('vmlinuz'),
    );
    if (found.length > 0) return found.map((entry) => join(root, entry));
    // Since 7.x the image is an empty package that depends on the one with the kernel in it.
    const depends = await run('dpkg-deb', ['--field', path, 'Depends']);
    const binary = /\blinux-binary-\S+/.exec(depends)?.[0];
    if (binary === undefined) throw new Error(`${file} has no kernel, nor a dependency that has one`);
    return this.unpackKernel(binary);
  }
}

/** Orders `linux-image-6.1.0-9-amd64` before `linux-image-6.1.0-10-amd64`. */
function byVersion(a: string, b: string): number {
  return a.localeCompare(b, 'en', { numeric: true });
}

/**
 * Path of the kernel's image, fetched first if it is not in the cache.
 * @throws Error with apt's own words when it cannot be fetched
 */
export async function kernelImage({ series, suite, packages }: Kernel, refresh = false): Promise<string> {
  const directory = join(CACHE, series);
  const cached = existsSync(directory) ? readdirSync(directory).filter((name) => name.startsWith('vmlinuz-')) : [];
  if (cached.length > 0 && !refresh) return join(directory, cached.sort(byVersion).at(-1)!);
  mkdirSync(directory, { recursive: true });
  const temporary = mkdtempSync(join(directory, '.apt-'));
  try {
    const apt = await Apt.open(temporary, suite);
    const newest = (await apt.names('linux-image-'))
      .filter((name) => packages.test(name))
      .sort(byVersion)
      .at(-1);
    if (newest === undefined) throw new Error(`suite ${suite} has no kernel of series ${series} any more`);
    const [kernel] = await apt.unpackKernel(newest);
    const image = join(directory, `vmlinuz-${newest.replace('linux-image-', '')}`);
    renameSync(kernel, image);
    return image;
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
}

if (import.meta.main) {
  for (const kernel of KERNELS) console.log(await kernelImage(kernel, process.argv.includes('--refresh')));
}
