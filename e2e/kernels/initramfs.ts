// SPDX-License-Identifier: Apache-2.0
/** The file system that the guests boot from: Node.js, the bundled agent, the fixtures, their libraries, and busybox. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { build } from 'esbuild';
import { CpioArchive } from './cpio.ts';
import type { Plan } from './guest.ts';

const ROOT = resolve(import.meta.dirname, '../..');
const AGENT = '/opt/plumbline';
const BUSYBOX = '/bin/busybox';
/** Programs that are profiled beside the fixtures; busybox, static and without unwind information, takes an emulated processor too long. */
const PROGRAMS = ['/bin/dash', '/bin/sleep'];

const INIT = `#!${BUSYBOX} sh
export PATH=/bin HOME=/tmp PLUMBLINE_UNDER_TEST=${AGENT}/plumbline NODE_DISABLE_COMPILE_CACHE=1
busybox mount -t proc proc /proc
busybox mount -t sysfs sysfs /sys
busybox mount -t devtmpfs dev /dev
busybox mount -t tracefs tracefs /sys/kernel/tracing
busybox stty -F /dev/ttyS1 raw
busybox ip link set lo up
node --jitless /opt/guest.mjs /opt/plan.json /dev/ttyS1
busybox poweroff -f
`;

/** Without a compiler: an emulated processor has to translate again whatever it writes, which costs more than it saves. */
const LAUNCHER = `#!${BUSYBOX} sh
exec /bin/node --jitless --max-semi-space-size=4 --disable-warning=ExperimentalWarning ${AGENT}/plumbline.mjs "$@"
`;

/** Shared libraries of a program, with the dynamic linker, as this machine resolves them. */
function librariesOf(program: string): string[] {
  let text: string;
  try {
    text = execFileSync('ldd', [program], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
  } catch {
    return []; // static
  }
  return Array.from(text.matchAll(/^\s*(?:\S+ => )?(\/\S+) \(0x/gm), ([, path]) => path);
}

/** Is it a program or a library? */
function isElf(path: string): boolean {
  return readFileSync(path).subarray(0, 4).toString('latin1') === '\x7fELF';
}

function filesIn(directory: string): string[] {
  return (readdirSync(directory, { recursive: true }) as string[])
    .map((name) => join(directory, name))
    .filter((path) => statSync(path).isFile());
}

/**
 * Bundles the agent as it is now and writes the archive.
 * @param output where to
 */
export async function writeInitramfs(output: string, plan: Plan): Promise<void> {
  if (!existsSync(BUSYBOX)) throw new Error(`${BUSYBOX} is missing: install busybox-static`);
  const temporary = mkdtempSync(join(tmpdir(), 'plumbline-guest-'));
  const archive = new CpioArchive(output);
  try {
    execFileSync(process.execPath, ['scripts/bundle.ts', temporary], {
      cwd: ROOT,
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    await build({
      entryPoints: [join(import.meta.dirname, 'guest.ts')],
      outfile: join(temporary, 'guest.mjs'),
      bundle: true,
      platform: 'node',
      target: 'node24',
      format: 'esm',
      logLevel: 'warning',
    });
    for (const directory of ['/proc', '/sys', '/dev', '/tmp', '/etc', '/root']) archive.directory(directory);
    archive.file('/init', INIT);
    archive.file('/opt/plan.json', JSON.stringify(plan));
    archive.copy(join(temporary, 'guest.mjs'), '/opt/guest.mjs');
    archive.copy(BUSYBOX);
    archive.link('/bin/sh', BUSYBOX);
    for (const program of PROGRAMS) archive.copy(program);
    archive.copy(process.execPath, '/bin/node');
    archive.file(`${AGENT}/plumbline`, LAUNCHER);
    for (const path of filesIn(join(temporary, 'agent')))
      archive.copy(path, AGENT + path.slice(join(temporary, 'agent').length));
    const built = join(ROOT, 'packages/bpf/build');
    for (const name of readdirSync(built).filter((name) => /^(addon\.node|(profiler|deferred.*)\.bpf\.o)$/.test(name)))
      archive.copy(join(built, name), `${AGENT}/build/${name}`);

    const fixtures = Object.values(plan.directories).flatMap(filesIn);
    for (const path of fixtures) archive.copy(path);
    const programs = [process.execPath, ...PROGRAMS, join(built, 'addon.node'), ...fixtures.filter(isElf)];
    const libraries = new Set(programs.flatMap(librariesOf));
    for (const path of libraries) if (!fixtures.includes(path)) archive.copy(path);
  } finally {
    archive.close();
    rmSync(temporary, { recursive: true, force: true });
  }
}
