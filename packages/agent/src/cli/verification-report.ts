// SPDX-License-Identifier: Apache-2.0
/** What `plumbline verify` says when it is done. */
import { MAX_SPILLED_STACK, type MismatchReport, type RawFrame, type RecordResult } from '../recording-options.ts';
import type { Verdict } from '../recovery/verification.ts';
import { formatElapsed } from './flag-values.ts';
import { grouped, percent } from './outcome-table.ts';
import type { PerfOutcome } from './perf-check.ts';
import type { PerfComparison } from './perf-comparison.ts';
import { alignedTable } from './table.ts';
import type { Paint, Style } from './terminal.ts';

export interface VerificationInput {
  readonly what: string;
  readonly frequency: number;
  readonly result: Pick<RecordResult, 'recovery' | 'strategy' | 'elapsedMs'>;
  /** Absent: not asked for. */
  readonly perf?: PerfOutcome;
}

/** The object of `verify --json`. Fields are added, never renamed. */
export interface JsonVerification {
  readonly target: string;
  readonly strategy: string;
  readonly frequencyHz: number;
  readonly elapsedMs: number;
  readonly compared: number;
  readonly verdicts: Readonly<Record<Verdict, number>>;
  /** Walks that the kernel side gave up: how many the agent finished, and why it did not finish the others. */
  readonly recovered: number;
  readonly notRecovered: Readonly<Record<string, number>>;
  /** Complete walks whose registers and stack did not come over, so that they were not compared. */
  readonly notCompared: number;
  readonly mismatches: readonly JsonMismatch[];
  /** How stacks of perf, taken at the same time, compare; absent: not asked for. */
  readonly perf?: PerfOutcome;
}

interface JsonFrame {
  readonly address: string;
  readonly name?: string;
  readonly file?: string;
  readonly fileAddress?: string;
  readonly byPointer: boolean;
}

interface JsonMismatch {
  readonly pid: number;
  readonly comm: string;
  readonly frame: number;
  readonly agentEnd: string;
  readonly kernel: readonly JsonFrame[];
  readonly agent: readonly JsonFrame[];
}

const VERDICTS: readonly (readonly [Verdict, Style, string])[] = [
  ['equal', 'green', 'every frame, to the root'],
  ['partial', 'dim', `equal as far as the copy of the stack (${MAX_SPILLED_STACK >> 10} KiB at most) reaches`],
  ['undecided', 'dim', 'equal as far as the second unwinder could walk'],
  ['mismatch', 'red', 'the two walks differ'],
];
/** Frames that are shown around the first one that differs, and mismatches that are shown. */
const CONTEXT = 3;
const MAX_SHOWN = 10;

/** Walks that were compared, however far. */
export function comparedWalks({ recovery: { verdicts } }: VerificationInput['result']): number {
  return Object.values(verdicts).reduce((sum, count) => sum + count, 0);
}

/** Whether something was compared and nothing differs. */
export function standsVerification(result: VerificationInput['result']): boolean {
  return comparedWalks(result) > 0 && result.recovery.verdicts.mismatch === 0;
}

export function jsonVerification({ what, frequency, result, perf }: VerificationInput): JsonVerification {
  const { recovery, strategy, elapsedMs } = result;
  const { verdicts, recovered, failures, spills, mismatches } = recovery;
  return {
    target: what,
    strategy,
    frequencyHz: frequency,
    elapsedMs: Math.round(elapsedMs),
    compared: comparedWalks(result),
    verdicts,
    recovered,
    notRecovered: failures,
    notCompared: spills.refused + spills.unread,
    mismatches: mismatches.map(({ pid, comm, at, agentEnd, kernel, agent }) => ({
      pid,
      comm,
      frame: at,
      agentEnd,
      kernel: kernel.map(jsonFrame),
      agent: agent.map(jsonFrame),
    })),
    ...(perf && { perf }),
  };
}

function jsonFrame({ address, name, file, fileAddress, byPointer }: RawFrame): JsonFrame {
  return {
    address: hex(address),
    ...(name === undefined ? {} : { name }),
    ...(file === undefined ? {} : { file }),
    ...(fileAddress === undefined ? {} : { fileAddress: hex(fileAddress) }),
    byPointer,
  };
}

export function textVerification(input: VerificationInput, paint: Paint): string {
  const { what, frequency, result } = input;
  const { recovery, strategy, elapsedMs } = result;
  const compared = comparedWalks(result);
  const lines = [
    `${paint('bold', `Verified ${what}`)} for ${formatElapsed(elapsedMs)} at ${frequency} Hz, strategy ${strategy}: ` +
      `${grouped(compared)} complete walks made again by another unwinder`,
    '',
    alignedTable(
      VERDICTS.map(([verdict, style, meaning]) => [
        paint(style, verdict),
        grouped(recovery.verdicts[verdict]),
        paint('dim', meaning),
      ]),
      [1],
    ),
    '',
  ];
  const failures = Object.entries(recovery.failures);
  if (recovery.recovered > 0 || failures.length > 0) {
    const reasons = failures.map(([reason, count]) => `${reason} ${grouped(count)}`).join(', ');
    const others = reasons === '' ? '' : `; others were not: ${reasons}`;
    lines.push(`${grouped(recovery.recovered)} walks that the kernel had to give up were finished${others}.`);
  }
  for (const mismatch of recovery.mismatches.slice(0, MAX_SHOWN)) lines.push(...describe(mismatch, paint), '');
  if (compared === 0) lines.push('Nothing was compared: the target did not run on a CPU meanwhile.');
  else if (recovery.verdicts.mismatch === 0) lines.push(paint('green', 'No frame differs.'));
  else lines.push(paint('red', `${grouped(recovery.verdicts.mismatch)} walks differ; please report this.`));
  if (input.perf) lines.push('', ...perfLines(input.perf, paint));
  return `${lines.join('\n')}\n`;
}

/** Both walks, side by side, around the first frame that differs. */
function describe({ pid, comm, at, kernel, agent, agentEnd }: MismatchReport, paint: Paint): string[] {
  const rows = [['frame', 'kernel', 'second unwinder'].map((title) => paint('dim', title))];
  for (let i = Math.max(0, at - CONTEXT); i <= at + CONTEXT && i < Math.max(kernel.length, agent.length); i++)
    rows.push([i === at ? paint('red', String(i)) : String(i), frameText(kernel[i]), frameText(agent[i])]);
  const head = `${comm} (pid ${pid}): ${kernel.length} frames by the kernel side, ${agent.length} by the second unwinder (${agentEnd})`;
  return [head, alignedTable(rows)];
}

function frameText(frame: RawFrame | undefined): string {
  if (!frame) return '-';
  const { address, name, file, fileAddress, byPointer } = frame;
  const place = file === undefined || fileAddress === undefined ? hex(address) : `${base(file)}+${hex(fileAddress)}`;
  return `${name ?? '?'} ${place}${byPointer ? ' (rbp)' : ''}`;
}

const PERF_VERDICTS: Readonly<Record<PerfComparison['verdict'], readonly [Style, string]>> = {
  agree: ['green', 'agree: chance explains every difference'],
  differ: ['red', 'differ: call sites that one sees more often than the other'],
  undecided: ['dim', 'undecided: too few samples'],
};

function perfLines(perf: PerfOutcome, paint: Paint): string[] {
  if ('unavailable' in perf) return [paint('dim', `Not compared with perf: ${perf.unavailable}.`)];
  const { verdict, samples, depth, rooted, sites, largestDifference, differences } = perf;
  const [style, meaning] = PERF_VERDICTS[verdict];
  const rows = [
    ['', 'samples', 'frames on average', 'reach a root'].map((title) => paint('dim', title)),
    ...(['plumbline', 'perf'] as const).map((who) => [
      who,
      grouped(samples[who]),
      depth[who].toFixed(1),
      percent(rooted[who]),
    ]),
  ];
  const shown = differences.slice(0, MAX_SHOWN).map(({ site, plumbline, perf: other }) => {
    return `  ${site}: ${percent(plumbline)} of the samples by Plumbline, ${percent(other)} by perf`;
  });
  const compared = `${sites} call sites compared, largest difference ${percent(largestDifference)}`;
  return [
    paint('bold', 'perf, DWARF call graphs, at the same time'),
    alignedTable(rows, [1, 2, 3]),
    `${paint(style, `Plumbline and perf ${meaning}`)} (${compared}).`,
    ...shown,
  ];
}

const hex = (value: bigint) => `0x${value.toString(16)}`;
const base = (path: string) => path.slice(path.lastIndexOf('/') + 1);
