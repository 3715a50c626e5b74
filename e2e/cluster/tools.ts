// SPDX-License-Identifier: Apache-2.0
/**
 * Builds and caches the programs of the test cluster: `await ensureTool('kube-apiserver')` answers with a path.
 *
 * Cache: `${XDG_CACHE_HOME:-~/.cache}/plumbline/tools/<name>-<version>/`, outside the tree, complete or absent (a build
 * happens beside it and is renamed into place). Where `KUBEBUILDER_ASSETS` names a folder that holds the program, that
 * one is used. As a program: `node e2e/cluster/tools.ts [names...]` prepares the named tools, or all, and prints their paths.
 *
 * Needs: Go (for most), `apt-get` and `dpkg` (for the Debian ones), their registries on the first run.
 */
import { spawn } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { basename, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import {
  type CollectorProgram,
  type DebianProgram,
  type GoProgram,
  TOOLS,
  type ToolName,
  type ToolRecipe,
} from './tool-recipes.ts';

export type { ToolName };

/** Root of everything that is built once per machine. */
export const cacheDirectory = join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'plumbline');

const pending = new Map<ToolName, Promise<string>>();

/**
 * Path of a tool, built first if it is missing. Concurrent callers, in this process or another, build it once.
 * @throws Error with the failing command's last output when a build fails.
 */
export function ensureTool(name: ToolName): Promise<string> {
  const running = pending.get(name) ?? prepare(name).finally(() => pending.delete(name));
  pending.set(name, running);
  return running;
}

/** Paths of several tools by name; missing ones are built one after the other. */
export async function ensureTools<N extends ToolName>(names: readonly N[]): Promise<Record<N, string>> {
  const paths = {} as Record<N, string>;
  for (const name of names) paths[name] = await ensureTool(name);
  return paths;
}

/** Where a finished tool lies (whether or not it is there yet), and the folder that holds it. */
function location(name: ToolName): { directory: string; path: string } {
  const recipe: ToolRecipe = TOOLS[name];
  const directory = join(cacheDirectory, 'tools', `${name}-${recipe.version}`);
  return { directory, path: join(directory, recipe.source === 'debian' ? recipe.path : name) };
}

async function prepare(name: ToolName): Promise<string> {
  const given = process.env.KUBEBUILDER_ASSETS && join(process.env.KUBEBUILDER_ASSETS, name);
  if (given && existsSync(given)) return given;
  const { directory, path } = location(name);
  if (existsSync(path)) return path;

  await mkdir(join(cacheDirectory, 'tools'), { recursive: true });
  const unlock = await lock(`${directory}.lock`, () => existsSync(path), name);
  try {
    if (existsSync(path)) return path;
    const recipe: ToolRecipe = TOOLS[name];
    const started = performance.now();
    log(`${name} ${recipe.version}: not in the cache, ${recipe.source === 'debian' ? 'unpacking' : 'building'} it`);
    const staging = await mkdtemp(`${directory}.building-`);
    try {
      if (recipe.source === 'go') await buildGoProgram(name, recipe, staging);
      else if (recipe.source === 'collector') await buildCollector(name, recipe, staging);
      else await unpackDebianPackage(recipe, staging);
      await chmod(staging, 0o755);
      await rename(staging, directory);
    } finally {
      await rm(staging, { recursive: true, force: true });
    }
    log(`${name} ${recipe.version}: ready after ${((performance.now() - started) / 1000).toFixed(1)} s`);
    return path;
  } finally {
    await unlock();
  }
}

/**
 * Takes a lock file, waiting while a living process holds it. It only saves double work: publication is an atomic
 * rename, so two holders (possible when both find the same dead owner) would cost time, not correctness.
 */
async function lock(path: string, isDone: () => boolean, name: string): Promise<() => Promise<void>> {
  for (let announced = false; ; await delay(250)) {
    try {
      await writeFile(path, String(process.pid), { flag: 'wx' });
      return () => rm(path, { force: true });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
    if (isDone()) return async () => {};
    const owner = await readFile(path, 'utf8').catch(() => '');
    const age = await stat(path).then(
      (s) => Date.now() - s.mtimeMs,
      () => 0,
    );
    // An empty file is one that its owner is just writing, unless it stays so.
    if (owner ? !existsSync(`/proc/${owner}`) : age > 5000) await rm(path, { force: true });
    else if (!announced) {
      log(`${name}: process ${owner} is building it, waiting`);
      announced = true;
    }
  }
}

// ---- Go -------------------------------------------------------------------------------------------------------------

/** Static binaries of the local Go toolchain; module and build caches are the user's own. */
const goEnvironment = { ...process.env, CGO_ENABLED: '0', GOTOOLCHAIN: 'local' };

async function buildGoProgram(name: string, recipe: GoProgram, into: string): Promise<void> {
  const module = await generateGoModule(recipe);
  const linkerFlags = Object.entries(recipe.linkerValues ?? {}).map(([variable, value]) => `-X ${variable}=${value}`);
  await goBuild(name, module, join(into, name), recipe.package, [
    '-mod=mod',
    '-ldflags',
    ['-s -w', ...linkerFlags].join(' '),
  ]);
}

async function goBuild(name: string, directory: string, output: string, target: string, flags: readonly string[]) {
  let compiled = 0;
  let last = '';
  const ticker = setInterval(() => compiled && log(`${name}: ${compiled} packages compiled, at ${last}`), 30_000);
  try {
    const args = ['build', '-v', '-buildvcs=false', '-trimpath', ...flags, '-o', output, target];
    await run('go', args, { cwd: directory, env: goEnvironment }, (line) => {
      compiled++;
      last = line;
    });
  } finally {
    clearInterval(ticker);
  }
}

/** Writes a module that requires the program's source and resolves its dependencies; answers with its folder. */
async function generateGoModule({ module }: GoProgram): Promise<string> {
  const directory = join(cacheDirectory, 'modules', module.id);
  if (existsSync(join(directory, 'go.sum'))) return directory;
  await mkdir(join(cacheDirectory, 'modules'), { recursive: true });
  const staging = await mkdtemp(`${directory}.`);
  const block = (keyword: string, lines: string[]) =>
    lines.length ? `${keyword} (\n${lines.map((l) => `\t${l}\n`).join('')})\n` : '';
  await writeFile(
    join(staging, 'go.mod'),
    `module plumbline.dev/tools/${module.id.toLowerCase()}\n\ngo 1.26.0\n\n` +
      block(
        'require',
        Object.entries(module.require).map(([path, version]) => `${path} ${version}`),
      ) +
      block(
        'replace',
        Object.entries(module.replace ?? {}).map(([path, version]) => `${path} => ${path} ${version}`),
      ),
  );
  await writeFile(
    join(staging, 'tools.go'),
    `//go:build tools\n\npackage tools\n\n${block(
      'import',
      module.packages.map((path) => `_ "${path}"`),
    )}`,
  );
  log(`${module.id}: resolving modules`);
  await run('go', ['mod', 'tidy', '-e'], { cwd: staging, env: goEnvironment });
  await rename(staging, directory).catch(async (error: NodeJS.ErrnoException) => {
    await rm(staging, { recursive: true, force: true });
    if (error.code !== 'ENOTEMPTY' && error.code !== 'EEXIST') throw error; // another builder was first
  });
  return directory;
}

// ---- OpenTelemetry Collector ----------------------------------------------------------------------------------------

async function buildCollector(name: string, recipe: CollectorProgram, into: string): Promise<void> {
  const builder = await ensureTool('ocb');
  const sources = join(into, 'sources');
  const components = Object.fromEntries(
    Object.entries(recipe.components).map(([kind, paths]) => [
      kind,
      paths.map((path) => ({ gomod: `${path} ${recipe.version}` })),
    ]),
  );
  const manifest = { dist: { name, version: recipe.version.slice(1), output_path: sources }, ...components };
  await writeFile(join(into, 'builder.yaml'), JSON.stringify(manifest)); // JSON is YAML
  await run(builder, ['--config', join(into, 'builder.yaml'), '--skip-compilation'], { cwd: into, env: goEnvironment });
  await goBuild(name, sources, join(into, name), '.', ['-ldflags', '-s -w']);
  await rm(sources, { recursive: true });
}

// ---- Debian ---------------------------------------------------------------------------------------------------------

async function unpackDebianPackage(recipe: DebianProgram, into: string): Promise<void> {
  const download = join(into, 'download');
  await mkdir(download);
  // As root, apt would drop to a user that may not write here.
  await run('apt-get', ['-o', 'APT::Sandbox::User=root', 'download', '-qq', recipe.debianPackage], { cwd: download });
  for (const file of readdirSync(download)) await run('dpkg', ['-x', join(download, file), into], { cwd: into });
  await rm(download, { recursive: true });
}

// ---- processes and output -------------------------------------------------------------------------------------------

/** Runs a command to its end; its lines go to `onLine`. @throws Error with the last 40 lines when it fails. */
async function run(
  command: string,
  args: readonly string[],
  options: { cwd: string; env?: NodeJS.ProcessEnv },
  onLine: (line: string) => void = () => {},
): Promise<void> {
  const child = spawn(command, args, { ...options, stdio: ['ignore', 'pipe', 'pipe'] });
  const tail: string[] = [];
  for (const stream of [child.stdout, child.stderr]) {
    let rest = '';
    stream.setEncoding('utf8').on('data', (chunk: string) => {
      const lines = (rest + chunk).split('\n');
      rest = lines.pop()!;
      for (const line of lines) {
        onLine(line);
        tail.push(line);
        if (tail.length > 40) tail.shift();
      }
    });
  }
  await new Promise<void>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) =>
      code === 0
        ? resolve()
        : reject(new Error(`${basename(command)} ${args.join(' ')}: ${signal ?? `exit ${code}`}\n${tail.join('\n')}`)),
    );
  });
}

function log(message: string): void {
  process.stderr.write(`[tools] ${message}\n`);
}

if (import.meta.main) {
  const names = process.argv.slice(2);
  const unknown = names.filter((name) => !(name in TOOLS));
  if (unknown.length > 0) {
    process.stderr.write(`unknown: ${unknown.join(', ')}; known: ${Object.keys(TOOLS).join(', ')}\n`);
    process.exit(2);
  }
  for (const name of (names.length ? names : Object.keys(TOOLS)) as ToolName[]) {
    process.stdout.write(`${name} ${await ensureTool(name)}\n`);
  }
}
