// SPDX-License-Identifier: Apache-2.0
/**
 * Format, lint, types, generated files, import rules. Prints one line per check and what is wrong under it.
 *
 *   node scripts/check.ts          exit code 1 if one fails
 *   node scripts/check.ts --fix    format, and generate what is generated, first
 */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';

const fix = process.argv.includes('--fix');
const node = process.execPath;

/** Programs that end with `deliver` of generated-files.ts. */
const generators = [
  'packages/bpf/scripts/generate-layout.ts',
  'packages/api/scripts/generate.ts',
  'packages/agent/scripts/bundle-flame-graph.ts',
  'packages/agent/scripts/generate-docs.ts',
  'deploy/monitoring/generate.ts',
  'scripts/generate-kernel-support.ts',
].filter((script) => existsSync(script));

const checks: readonly (readonly [name: string, command: string, args: readonly string[]])[] = [
  ['format and lint', 'node_modules/.bin/biome', ['check', ...(fix ? ['--write'] : []), '--max-diagnostics=40', '.']],
  ['types', 'node_modules/.bin/tsc', ['-p', '.', '--noEmit']],
  ['types of the page', 'node_modules/.bin/tsc', ['-p', 'packages/agent/src/export/flame-graph/browser', '--noEmit']],
  ['import rules', node, ['scripts/check-imports.ts']],
  ...generators.map(
    (script) => [script.replace(/^(packages\/)?/, ''), node, [script, ...(fix ? [] : ['--check'])]] as const,
  ),
];

let failed = 0;
for (const [name, command, args] of checks) {
  const begun = performance.now();
  const { status, stdout, stderr, error } = spawnSync(command, args, { encoding: 'utf8', maxBuffer: 1 << 26 });
  const good = status === 0;
  if (!good) failed++;
  console.log(`${good ? 'ok  ' : 'FAIL'} ${name} (${((performance.now() - begun) / 1e3).toFixed(1)} s)`);
  if (!good) console.log(`${stdout ?? ''}${stderr ?? ''}${error?.message ?? ''}`.trimEnd());
}
console.log(`${checks.length - failed} of ${checks.length} checks passed`);
process.exitCode = failed === 0 ? 0 : 1;
