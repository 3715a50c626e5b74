// SPDX-License-Identifier: Apache-2.0
/**
 * Compiles `addon/*.cc` to `build/addon.node` with the system's C++ compiler: no node-gyp, no download. The headers
 * of Node-API come from the package `node-api-headers`; the interface is stable across versions of Node. libbpf,
 * libelf and zlib are linked dynamically, the C++ library statically.
 *
 *   node scripts/build-addon.ts [--debug]      --debug: no optimization, address and undefined-behaviour checks
 */
import { spawn } from 'node:child_process';
import { mkdirSync, readdirSync, renameSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { basename, join } from 'node:path';
import { buildDirectory, findTool, packageDirectory } from './compile-bpf.ts';

const { include_dir: headersDirectory } = createRequire(import.meta.url)('node-api-headers') as { include_dir: string };
const debug = process.argv.includes('--debug');
const compiler = findTool('CXX', ['g++', 'c++', 'clang++-19', 'clang++']);
const flags = [
  ...['-std=gnu++20', '-fPIC', '-fvisibility=hidden', '-Wall', '-Wextra', '-Werror', '-Wno-missing-field-initializers'],
  ...(debug ? ['-O0', '-g', '-fsanitize=address,undefined'] : ['-O2', '-ffunction-sections', '-fdata-sections']),
  `-I${headersDirectory}`,
];
const linkFlags = [
  ...['-shared', '-static-libstdc++', '-static-libgcc', '-Wl,--exclude-libs,ALL', '-Wl,--gc-sections'],
  ...(debug ? ['-fsanitize=address,undefined'] : ['-s']),
];

function run(program: string, args: string[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: 'inherit' });
    child.on('error', reject);
    child.on('exit', (code) => (code === 0 ? resolve() : reject(new Error(`${program} ${args.at(-1)} failed`))));
  });
}

const objectsDirectory = join(buildDirectory, debug ? 'addon-debug' : 'addon');
mkdirSync(objectsDirectory, { recursive: true });
const sourceDirectory = join(packageDirectory, 'addon');
const files = readdirSync(sourceDirectory).sort();
const newestHeader = Math.max(
  ...[
    ...files.filter((file) => file.endsWith('.h')).map((file) => join(sourceDirectory, file)),
    import.meta.filename,
  ].map(modified),
);
const objects: string[] = [];
const pending: (() => Promise<void>)[] = [];
for (const file of files.filter((file) => file.endsWith('.cc'))) {
  const source = join(sourceDirectory, file);
  const object = join(objectsDirectory, `${basename(file, '.cc')}.o`);
  objects.push(object);
  if (modified(object) > Math.max(modified(source), newestHeader)) continue;
  pending.push(() => run(compiler, [...flags, '-c', '-o', object, source]));
}

function modified(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;
}

const compiled = pending.length;
await Promise.all(
  Array.from({ length: availableParallelism() }, async () => {
    for (let job = pending.shift(); job; job = pending.shift()) await job();
  }),
);
const output = join(buildDirectory, debug ? 'addon-debug.node' : 'addon.node');
const unfinished = `${output}.${process.pid}.tmp`;
await run(compiler, [...objects, ...linkFlags, '-lbpf', '-lelf', '-lz', '-lpthread', '-o', unfinished]);
renameSync(unfinished, output);
console.log(`${basename(output)}: ${statSync(output).size} bytes, ${compiled} of ${objects.length} files compiled`);
