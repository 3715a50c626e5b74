// SPDX-License-Identifier: Apache-2.0
/**
 * Compiles one BPF C file to an object file: the only place that knows the compiler's flags.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';

export const packageDirectory = join(import.meta.dirname, '..');
export const buildDirectory = join(packageDirectory, 'build');
export const sourceDirectory = join(packageDirectory, 'bpf');

/** BPF code sees the registers of the machine that it runs on. */
const TARGET_ARCHITECTURE: Record<string, string> = { x64: 'x86', arm64: 'arm64' };
/** Where Debian and Ubuntu keep `asm/types.h`, which `linux/types.h` includes. */
const MULTIARCH: Record<string, string> = { x64: 'x86_64-linux-gnu', arm64: 'aarch64-linux-gnu' };

/** First of the names that can be run; `$CLANG` or `$LLVM_STRIP` come before all others. */
export function findTool(variable: string, names: readonly string[]): string {
  const chosen = process.env[variable];
  for (const name of chosen ? [chosen] : names) {
    if (spawnSync(name, ['--version'], { stdio: 'ignore' }).status === 0) return name;
  }
  throw new Error(
    `none of ${names.join(', ')} is installed (apt-get install clang-19 llvm-19), and $${variable} names none`,
  );
}

export const findClang = () => findTool('CLANG', ['clang-19', 'clang-20', 'clang-21', 'clang-18', 'clang']);
export const findStrip = () =>
  findTool('LLVM_STRIP', ['llvm-strip-19', 'llvm-strip-20', 'llvm-strip-21', 'llvm-strip-18', 'llvm-strip']);

/** Flags that hold for every BPF file: `-mcpu=v3` is what kernel 5.10 verifies and JITs. */
export function clangFlags(): string[] {
  const includes = [sourceDirectory, ...[`/usr/include/${MULTIARCH[process.arch]}`].filter(existsSync)];
  return [
    ...['-target', 'bpf', '-mcpu=v3', '-O2', '-g', '-std=gnu11'],
    ...['-Wall', '-Wextra', '-Werror', '-Wno-unused-parameter', '-Wno-sign-compare', '-Wno-missing-field-initializers'],
    `-D__TARGET_ARCH_${TARGET_ARCHITECTURE[process.arch]}`,
    ...includes.map((directory) => `-I${directory}`),
  ];
}

/**
 * Compiles `source` to `output`, which appears complete or not at all. DWARF goes, BTF stays: paths of the build
 * machine do not belong into an object, and libbpf reads BTF alone.
 * @throws Error with the compiler's messages already on stderr.
 */
export function compileBpf(source: string, output: string, extraFlags: readonly string[] = []): void {
  mkdirSync(dirname(output), { recursive: true });
  const unfinished = `${output}.${process.pid}.tmp`;
  try {
    execFileSync(findClang(), [...clangFlags(), ...extraFlags, '-c', source, '-o', unfinished], { stdio: 'inherit' });
    execFileSync(findStrip(), ['-g', unfinished], { stdio: 'inherit' });
    renameSync(unfinished, output);
  } finally {
    rmSync(unfinished, { force: true });
  }
}
