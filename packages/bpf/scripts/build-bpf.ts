// SPDX-License-Identifier: Apache-2.0
/**
 * Compiles each `bpf/*.bpf.c` to `build/<name>.bpf.o` and prints the instructions of every program, so that a
 * review sees growth. Kernel types come from the committed `bpf/kernel_types.h`, relocated at load (CO-RE): the build
 * needs no running kernel and no BTF.
 *
 *   node scripts/build-bpf.ts [name...]     all, or the named ones
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { readBpfElf } from './bpf-elf.ts';
import { buildDirectory, compileBpf, sourceDirectory } from './compile-bpf.ts';

const wanted = process.argv.slice(2);
const names = readdirSync(sourceDirectory)
  .filter((file) => file.endsWith('.bpf.c'))
  .map((file) => file.slice(0, -'.bpf.c'.length))
  .filter((name) => wanted.length === 0 || wanted.includes(name));
const unknown = wanted.filter((name) => !names.includes(name));
if (unknown.length) throw new Error(`no such file: ${unknown.map((name) => `bpf/${name}.bpf.c`).join(', ')}`);

for (const name of names) {
  const output = join(buildDirectory, `${name}.bpf.o`);
  compileBpf(join(sourceDirectory, `${name}.bpf.c`), output);
  const elf = readBpfElf(readFileSync(output));
  console.log(`${name}.bpf.o: ${elf.bytes.length} bytes`);
  for (const { name: program, section, instructions } of elf.functions) {
    console.log(`  ${String(instructions).padStart(6)} instructions  ${program}  (${section})`);
  }
}
