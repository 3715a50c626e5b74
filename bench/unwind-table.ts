// SPDX-License-Identifier: Apache-2.0
/** How long the unwind table of a file takes to build and how much memory at its peak, each in a process of its own. */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { median, type Table } from './table.ts';

const root = join(import.meta.dirname, '..');
const FILES: readonly (readonly [name: string, paths: readonly string[]])[] = [
  ['libc', ['/usr/lib/x86_64-linux-gnu/libc.so.6', '/usr/lib64/libc.so.6']],
  ['node', [join(root, 'node_modules/node/bin/node')]],
  ['libstdc++', ['/usr/lib/x86_64-linux-gnu/libstdc++.so.6']],
  ['cc1plus', ['/usr/lib/gcc/x86_64-linux-gnu/12/cc1plus', '/usr/libexec/gcc/x86_64-linux-gnu/13/cc1plus']],
];

const MEASURE = `
const { buildTable } = await import(${JSON.stringify(join(root, 'packages/agent/src/processes/build-table.ts'))});
const { openSync, readFileSync } = await import('node:fs');
const path = process.argv[1];
const reply = buildTable({ fd: openSync(path, 'r') });
if (reply.error) throw new Error(reply.error);
const sum = (of) => reply.segments.reduce((total, segment) => total + of(segment), 0);
console.log(JSON.stringify({ ms: reply.buildMs, rows: sum((s) => s.rows.length), bytes: sum((s) => s.byteLength) }));
// Not the process's maxRSS, which begins with that of the one that started it.
console.log(/^VmHWM:\\s+(\\d+)/m.exec(readFileSync('/proc/self/status', 'utf8'))[1]);
`;

function measure(path: string) {
  const { status, stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', MEASURE, path], {
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(stderr);
  const [result, peakKiB] = stdout.trim().split('\n');
  return { ...(JSON.parse(result) as { ms: number; rows: number; bytes: number }), peakMiB: Number(peakKiB) / 1024 };
}

export async function benchUnwindTable(brief: boolean): Promise<Table> {
  const idle = measure('/usr/lib/x86_64-linux-gnu/libz.so.1').peakMiB;
  const rows: string[][] = [];
  for (const [name, paths] of FILES) {
    const path = paths.find((candidate) => existsSync(candidate));
    if (!path) continue;
    const runs = Array.from({ length: brief ? 1 : 5 }, () => measure(path));
    rows.push([
      name,
      `${runs[0].rows}`,
      `${(runs[0].bytes / 2 ** 20).toFixed(2)} MiB`,
      `${Math.round(median(runs.map(({ ms }) => ms)))} ms`,
      `${Math.round(Math.max(0, Math.max(...runs.map(({ peakMiB }) => peakMiB)) - idle))} MiB`,
    ]);
  }
  return {
    title: 'Building an unwind table',
    command: 'make bench (case unwind-table)',
    head: ['file', 'rows', 'in the kernel', 'time, median', 'peak above an idle process'],
    rows,
    notes: [
      'The first build of a process, before its code is optimized: what a new file costs an agent that has just started.',
    ],
  };
}
