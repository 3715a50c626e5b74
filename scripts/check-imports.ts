// SPDX-License-Identifier: Apache-2.0
/**
 * Who may import whom. Prints each import that breaks a rule; the rules are the map of docs/architecture.md.
 */
import { globSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';

/** Between packages: what each may import of ours. */
const packages: Record<string, readonly string[]> = {
  api: [],
  bpf: [],
  kube: [],
  agent: ['api', 'bpf', 'kube'],
  operator: ['api', 'kube'],
};

/** Inside the agent: what each folder may import of the others. Files in src/ itself and the command line may import everything. */
const open = ['errors', 'log', 'clock', 'nearest-word', 'recording-options'];
const folders: Record<string, readonly string[]> = {
  elf: [],
  'unwind-table': ['elf'],
  profile: [],
  samples: ['processes'],
  symbols: ['elf', 'profile', 'unwind-table', 'processes'],
  processes: ['elf', 'unwind-table'],
  session: ['processes', 'unwind-table', 'samples'],
  recovery: ['elf', 'unwind-table', 'processes', 'samples', 'symbols'],
  metadata: ['processes'],
  export: ['profile'],
  config: [],
  baseline: ['samples'],
  metrics: [],
  workloads: ['metadata', 'processes', 'profile'],
  explain: ['profile'],
  http: ['profile', 'export', 'explain', 'metrics', 'config'],
  kubernetes: ['config', 'http', 'metadata', 'processes', 'samples', 'workloads'],
};
/** Folders whose code takes no clock, file or socket. */
const pure = ['elf', 'unwind-table', 'profile'];

const broken: string[] = [];
for (const file of globSync('packages/*/src/**/*.ts')) {
  if (/\.(test|fixture|bench|gen)\.ts$/.test(file) || file.includes('/testing/')) continue;
  const [, owner, , ...rest] = file.split('/');
  const folder = rest.length > 1 ? rest[0] : undefined;
  for (const [, name] of readFileSync(file, 'utf8').matchAll(/(?:from|import)\s*\(?\s*'([^']+)'/g)) {
    const ours = /^@plumbline\/([a-z]+)/.exec(name)?.[1];
    if (ours && !packages[owner]?.includes(ours)) broken.push(`${file}: package ${owner} may not import ${ours}`);
    if (name.startsWith('.')) {
      const target = normalize(join(dirname(file), name)).split('/');
      if (target[1] !== owner) broken.push(`${file}: ${name} reaches into another package`);
      if (owner !== 'agent' || folder === undefined || folder === 'cli') continue;
      const other = target.length > 4 ? target[3] : target[3]?.replace(/\.ts$/, '');
      const allowed = target.length > 4 ? other === folder || folders[folder]?.includes(other) : open.includes(other);
      if (!allowed) broken.push(`${file}: ${folder} may not import ${other}`);
    }
    if (owner === 'agent' && folder && pure.includes(folder) && /^node:(fs|net|http|child_process|os)/.test(name))
      broken.push(`${file}: ${folder} is pure and may not import ${name}`);
  }
}
for (const line of broken) console.log(line);
process.exitCode = broken.length > 0 ? 1 : 0;
