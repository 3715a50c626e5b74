// SPDX-License-Identifier: Apache-2.0
import { readFileSync, readlinkSync } from 'node:fs';
import os from 'node:os';
import { features } from '@plumbline/bpf';
import { AgentError } from '../errors.ts';
import { chooseStrategy, describeChoice } from '../strategy-choice.ts';
import type { Command, CommandContext } from './command.ts';
import {
  type Check,
  type CheckStatus,
  type Diagnosis,
  diagnose,
  type Findings,
  type StrategyFinding,
} from './diagnosis.ts';
import { grouped } from './outcome-table.ts';
import { alignedTable } from './table.ts';
import type { Paint, Style } from './terminal.ts';
import { paintFor } from './terminal.ts';
import { VERSION } from './version.ts';

export const doctorCommand: Command = {
  name: 'doctor',
  summary: 'Say what this kernel offers, what is missing, what to do about it, and how stacks would be walked.',
  usage: ['[--json]'],
  flags: [{ name: 'json', help: 'Print a JSON object.' }],
  notes: [
    'Features are found by trying: small programs are loaded and removed again. The exit code is 1 when profiling cannot work.',
  ],
  examples: [
    { what: 'On this machine', command: 'sudo plumbline doctor' },
    {
      what: 'Only what is wrong',
      command: 'sudo plumbline doctor --json | jq \'.checks[] | select(.status != "ok")\'',
    },
  ],
  async run(args, { stdout, env }: CommandContext) {
    const diagnosis = diagnose(await examine());
    const head = { version: VERSION, kernel: os.release(), platform: `${os.platform()}/${os.arch()}` };
    stdout.write(
      args.flags.json === true
        ? `${JSON.stringify({ ...head, ...diagnosis }, null, 2)}\n`
        : report(
            `Plumbline ${head.version} on Linux ${head.kernel} (${head.platform})`,
            diagnosis,
            paintFor(stdout, env),
          ),
    );
    return diagnosis.works ? 0 : 1;
  },
};

async function examine(): Promise<Findings> {
  const facts = {
    kptrRestrict: readNumber('/proc/sys/kernel/kptr_restrict'),
    hostPidNamespace: isHostPidNamespace(),
  };
  try {
    return { kernel: features(), strategy: await tryStrategy(), ...facts };
  } catch (thrown) {
    const error = AgentError.from(thrown);
    const kernelError = { reason: error.message, remedy: error.remedy };
    return { kernel: undefined, kernelError, strategy: { loaded: false, ...kernelError }, ...facts };
  }
}

/** Loads and tests strategies as a recording would, and takes them down again. */
async function tryStrategy(): Promise<StrategyFinding> {
  try {
    return { loaded: true, ...(await chooseStrategy('auto')) };
  } catch (thrown) {
    const error = AgentError.from(thrown);
    return { loaded: false, reason: error.message, remedy: error.remedy };
  }
}

/** PROC_PID_INIT_INO of include/linux/proc_ns.h. */
const HOST_PID_NAMESPACE = 'pid:[4026531836]';

function isHostPidNamespace(): boolean {
  try {
    return readlinkSync('/proc/self/ns/pid') === HOST_PID_NAMESPACE;
  } catch {
    return true; // no namespaces in this kernel
  }
}

function readNumber(path: string): number | null {
  try {
    return Number(readFileSync(path, 'utf8'));
  } catch {
    return null;
  }
}

const MARKS: Readonly<Record<CheckStatus, readonly [mark: string, style: Style]>> = {
  ok: ['✓', 'green'],
  warn: ['!', 'yellow'],
  fail: ['✗', 'red'],
  unknown: ['?', 'dim'],
};

export function report(head: string, diagnosis: Diagnosis, paint: Paint): string {
  const lines = [paint('bold', head), ''];
  for (const group of ['permissions', 'kernel settings', 'kernel features'] as const) {
    const checks = diagnosis.checks.filter((check) => check.group === group);
    if (checks.length === 0) continue;
    lines.push(paint('bold', group[0].toUpperCase() + group.slice(1)), checkTable(checks, paint), '');
  }
  lines.push(paint('bold', 'Strategy'), ...strategyLines(diagnosis, paint), '', verdict(diagnosis, paint));
  return `${lines.join('\n')}\n`;
}

function checkTable(checks: readonly Check[], paint: Paint): string {
  return alignedTable(
    checks.map(({ name, status, detail, remedy }) => {
      const [mark, style] = MARKS[status];
      const advice = remedy === '' ? '' : paint('dim', ` → ${remedy}`);
      return [paint(style, mark), name, detail + advice];
    }),
  );
}

function strategyLines({ strategy, depth }: Diagnosis, paint: Paint): string[] {
  if (!strategy.loaded) return [`  ${paint('red', 'none')}: ${strategy.reason}`];
  const [why, ...more] = describeChoice(strategy);
  return [
    `  ${paint('green', strategy.name)}: stacks of up to ${grouped(depth)} frames; ${why}`,
    ...more.map((line) => `  ${line}`),
    ...strategy.rejected.map(({ strategy: better, cause, detail }) =>
      cause === 'refused'
        ? `  ${paint('yellow', better)} was refused: ${detail}`
        : `  ${paint('red', better)} did not stand its self-test: ${detail}`,
    ),
  ];
}

function verdict({ works, checks, strategy }: Diagnosis, paint: Paint): string {
  const count = (status: CheckStatus) => checks.filter((check) => check.status === status).length;
  if (works) {
    const warnings = count('warn');
    const rest = warnings === 0 ? '' : ` ${warnings} of the checks above could be better.`;
    return paint('green', `Profiling works here.${rest}`);
  }
  const causes = new Map<string, string[]>();
  for (const { name, status, remedy } of checks) {
    if (status === 'fail') causes.set(remedy, [...(causes.get(remedy) ?? []), name]);
  }
  if (causes.size === 0 && !strategy.loaded) causes.set(strategy.remedy, ['strategy']);
  return [
    paint('red', 'Profiling cannot work here:'),
    ...[...causes].map(([remedy, names]) => `  ${names.join(', ')}: ${remedy}`),
  ].join('\n');
}
