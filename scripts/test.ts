// SPDX-License-Identifier: Apache-2.0
/**
 * Runs the tests, suite by suite, and says at the end how many passed and failed and where the time went.
 *
 *   node scripts/test.ts [suite...]     default: all; `node scripts/test.ts --list` names them
 *
 * On CI (CI=true) nothing may be skipped: a test that says it cannot run here has failed there.
 */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, globSync } from 'node:fs';
import { relative } from 'node:path';
import { run } from 'node:test';
import { spec } from 'node:test/reporters';

interface Suite {
  readonly name: string;
  readonly about: string;
  readonly files: readonly string[];
  /** What has to be there first; each is a command. */
  readonly needs?: readonly (readonly string[])[];
  /** Files at the same time; those that measure or load the machine run alone. */
  readonly concurrency: number;
  /** Of one file: minutes. */
  readonly minutes: number;
}

const node = process.execPath;
const suites: readonly Suite[] = [
  {
    name: 'unit',
    about: 'everything that needs neither root nor a kernel',
    files: [...globSync('packages/*/src/**/*.test.ts'), ...globSync('{bench,deploy,scripts}/**/*.test.ts')],
    concurrency: 2,
    minutes: 5,
  },
  {
    name: 'kernel',
    about: 'the addon and the agent on the kernel of this machine',
    files: globSync('packages/{bpf,agent}/test/**/*.test.ts'),
    concurrency: 1,
    minutes: 8,
  },
  {
    name: 'truth',
    about: 'recorded stacks against programs that know their own, and against other unwinders',
    files: [...globSync('e2e/{fixtures,programs,truth,completeness,recovery,strategies}/**/*.test.ts')],
    concurrency: 1,
    minutes: 12,
  },
  {
    name: 'kernels',
    about: "Debian's kernels 5.10 to 7.2, in qemu",
    files: globSync('e2e/kernels/**/*.test.ts'),
    concurrency: 1,
    minutes: 30,
  },
  {
    name: 'operator',
    about: 'the operator, the chart and the kubectl plugin on a real API server',
    files: [
      ...globSync('packages/operator/test/**/*.test.ts'),
      ...globSync('packages/kube/test/**/*.test.ts'),
      ...globSync('e2e/{chart,kubectl}/**/*.test.ts'),
    ],
    needs: [
      ['scripts/setup.sh', 'cluster'],
      [node, 'e2e/cluster/tools.ts'],
    ],
    concurrency: 1,
    minutes: 10,
  },
  {
    name: 'alerts',
    about: 'rules and dashboards against a real Prometheus that scrapes a real agent',
    files: globSync('e2e/alerts/**/*.test.ts'),
    needs: [[node, 'e2e/cluster/tools.ts', 'prometheus', 'promtool']],
    concurrency: 1,
    minutes: 12,
  },
  {
    name: 'cluster',
    about: 'a real node of Kubernetes, from kubectl apply to the collector',
    files: [...globSync('e2e/cluster/**/*.test.ts'), ...globSync('e2e/*.test.ts')],
    needs: [
      ['scripts/setup.sh', 'cluster'],
      [node, 'e2e/cluster/tools.ts'],
    ],
    concurrency: 1,
    minutes: 15,
  },
];

const wanted = process.argv.slice(2);
if (wanted.includes('--list')) {
  for (const { name, about, files } of suites) console.log(`${name.padEnd(10)} ${about} (${files.length} files)`);
  process.exit(0);
}
const unknown = wanted.filter((name) => !suites.some((suite) => suite.name === name));
if (unknown.length > 0) {
  console.error(`no such suite: ${unknown.join(', ')}; there are ${suites.map(({ name }) => name).join(', ')}`);
  process.exit(2);
}

const onCi = process.env.CI === 'true';
const totals = { passed: 0, failed: 0, skipped: 0 };
const times: string[] = [];
const failures: string[] = [];
const unsteady: string[] = [];

if (wanted.length === 0) {
  const begun = performance.now();
  const { status } = spawnSync(node, ['scripts/check.ts'], { stdio: 'inherit' });
  if (status === 0) totals.passed++;
  else {
    totals.failed++;
    failures.push('check: format, lint, types, generated files or import rules; see above');
  }
  note('check', begun);
}

for (const suite of suites) {
  if ((wanted.length > 0 && !wanted.includes(suite.name)) || suite.files.length === 0) continue;
  console.log(`\n== ${suite.name}: ${suite.about}`);
  const begun = performance.now();
  try {
    for (const [command, ...args] of suite.needs ?? []) await runCommand(command, args);
    if (suite.needs) note(`${suite.name}: preparation`, begun);
    await runSuite(suite);
  } catch (error) {
    totals.failed++;
    failures.push(`${suite.name}: ${(error as Error).message}`);
    console.log((error as Error).message);
  }
  note(suite.name, begun);
}

console.log(`\nTime: ${times.join(', ')}`);
if (failures.length > 0) console.log(`\nFailed:\n${failures.map((line) => `  ${line}`).join('\n')}`);
console.log(
  `${totals.passed} passed, ${totals.failed} failed${totals.skipped > 0 ? `, ${totals.skipped} skipped` : ''}`,
);
process.exit(totals.failed === 0 ? 0 : 1);

function note(name: string, begun: number): void {
  times.push(`${name} ${Math.round((performance.now() - begun) / 1e3)} s`);
}

function runCommand(command: string, args: readonly string[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: 'inherit' });
    child.on('error', reject);
    child.on('exit', (code, signal) =>
      code === 0 ? resolve() : reject(new Error(`${[command, ...args].join(' ')} ended with ${signal ?? code}`)),
    );
  });
}

interface Outcome {
  readonly passed: string[];
  readonly failed: { readonly file: string; readonly name: string }[];
  readonly skipped: { readonly file: string; readonly name: string; readonly why: string }[];
}

/**
 * Runs a suite's files. Files with failures are run once more, alone: what then passes was a matter of a machine that had
 * other things to do, and is counted as passed but listed, so that nobody overlooks a test that is not steady.
 */
async function runSuite(suite: Suite): Promise<void> {
  const files = suite.files.filter((file) => existsSync(file)).sort();
  const first = await runFiles(files, suite.concurrency, suite.minutes);
  const again = [...new Set(first.failed.map(({ file }) => file))].filter((file) => existsSync(file));
  totals.passed += first.passed.length;
  count(first.skipped);
  if (first.failed.length === 0) return;
  console.log(`\n== ${suite.name}, second try of ${again.join(', ')}`);
  const second = await runFiles(again, 1, suite.minutes);
  const stillFailing = new Set(second.failed.map(({ file, name }) => `${file}: ${name}`));
  for (const { file, name } of first.failed) {
    const title = `${file}: ${name}`;
    if (stillFailing.has(title) || !second.passed.includes(title)) {
      totals.failed++;
      failures.push(title);
      stillFailing.delete(title);
    } else {
      totals.passed++;
      unsteady.push(title);
    }
  }
  // What passed at first and failed then has failed.
  for (const title of stillFailing) {
    totals.failed++;
    failures.push(`${title} (passed at the first try)`);
  }
}

function count(skipped: Outcome['skipped']): void {
  for (const { file, name, why } of skipped) {
    if (onCi) {
      totals.failed++;
      failures.push(`${file}: ${name}: skipped on CI (${why})`);
    } else totals.skipped++;
  }
}

async function runFiles(files: readonly string[], concurrency: number, minutes: number): Promise<Outcome> {
  const outcome: Outcome = { passed: [], failed: [], skipped: [] };
  const stream = run({ files: [...files], concurrency, timeout: minutes * 60_000 });
  const path = (file: string | undefined) => (file === undefined ? '' : relative(process.cwd(), file));
  stream.on('test:pass', ({ name, details, skip, file }) => {
    if (details.type === 'suite') return;
    if (skip === undefined) outcome.passed.push(`${path(file)}: ${name}`);
    else outcome.skipped.push({ file: path(file), name, why: skip === true ? 'no reason given' : String(skip) });
  });
  stream.on('test:fail', ({ name, details, file }) => {
    if (details.type === 'suite' && details.error?.cause === undefined) return; // its tests are counted
    if ((details.error as { failureType?: string } | undefined)?.failureType === 'subtestsFailed') return;
    outcome.failed.push({ file: path(file), name });
  });
  await new Promise<void>((resolve, reject) => {
    stream.compose(new spec()).on('error', reject).on('end', resolve).pipe(process.stdout, { end: false });
  });
  return outcome;
}
