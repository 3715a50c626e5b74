// SPDX-License-Identifier: Apache-2.0
/** What a recording says when it is done: for people a few lines and a table, for machines one JSON object. */
import type { RecordEvent, RecordResult, Strategy } from '../recording-options.ts';
import { formatElapsed } from './flag-values.ts';
import type { OutcomeTable } from './outcome-table.ts';
import { grouped, percent, type ReasonDescription, tabulate } from './outcome-table.ts';
import type { OutputFormat } from './output-format.ts';
import { alignedTable } from './table.ts';
import type { Paint, Style } from './terminal.ts';

export interface WrittenOutput {
  /** undefined: standard output. */
  readonly path: string | undefined;
  readonly format: OutputFormat;
  readonly bytes: number;
}

export interface SummaryInput {
  readonly what: string;
  readonly event: RecordEvent;
  readonly frequency: number;
  readonly maxFrames: number;
  readonly result: Pick<RecordResult, 'counters' | 'strategy' | 'deepest' | 'elapsedMs' | 'exitCode' | 'endedEarly'>;
  readonly reasons: readonly ReasonDescription[];
  readonly output: WrittenOutput;
}

/** The object of `record --json`. Fields are added, never renamed. */
export interface JsonSummary {
  readonly target: string;
  readonly event: RecordEvent;
  readonly frequencyHz: number;
  readonly maxFrames: number;
  readonly strategy: Strategy;
  readonly elapsedMs: number;
  readonly endedEarly: string | null;
  /** Most user frames of one sample. */
  readonly deepest: number;
  /** Equals the sum of `outcomes`, and of the counts of `reasons`. */
  readonly fired: number;
  readonly outcomes: Readonly<Record<string, number>>;
  readonly reasons: readonly { outcome: string; reason: string; count: number }[];
  readonly truncatedRatio: number;
  readonly output: { path: string | null; format: OutputFormat; bytes: number };
  readonly exitCode: number | null;
}

export function jsonSummary(input: SummaryInput): JsonSummary {
  const { result, output } = input;
  const table = tabulate(result.counters, input.reasons);
  return {
    target: input.what,
    event: input.event,
    frequencyHz: input.frequency,
    maxFrames: input.maxFrames,
    strategy: result.strategy,
    elapsedMs: Math.round(result.elapsedMs),
    endedEarly: result.endedEarly ?? null,
    deepest: result.deepest,
    fired: table.fired,
    outcomes: table.byOutcome,
    reasons: table.rows.map(({ outcome, reason, count }) => ({ outcome, reason, count })),
    truncatedRatio: table.truncatedRatio,
    output: { path: output.path ?? null, format: output.format, bytes: output.bytes },
    exitCode: result.exitCode ?? null,
  };
}

export function textSummary(input: SummaryInput, paint: Paint): string {
  const { result, output } = input;
  const table = tabulate(result.counters, input.reasons);
  const lines = [
    `${paint('bold', `Recorded ${input.what}`)} for ${formatElapsed(result.elapsedMs)} at ${input.frequency} Hz` +
      ` (${input.event}), strategy ${result.strategy}, deepest stack ${grouped(result.deepest)} frames${ending(input)}`,
    '',
    outcomeLines(table, paint),
    '',
    verdict(table, paint),
  ];
  if (result.exitCode !== undefined) lines.push(`The command ended with exit code ${result.exitCode}.`);
  if (output.path !== undefined) {
    lines.push(`Wrote ${output.path} (${formatBytes(output.bytes)}); ${HOW_TO_OPEN[output.format](output.path)}.`);
  }
  return `${lines.join('\n')}\n`;
}

function ending({ result }: SummaryInput): string {
  if (result.endedEarly === 'aborted') return '; ended by a signal';
  // That a command ends is how its recording ends; its exit code is shown.
  return result.endedEarly === 'process_ended' && result.exitCode === undefined ? '; the process ended' : '';
}

const OUTCOME_STYLES: Readonly<Record<string, Style>> = {
  complete: 'green',
  recovered: 'green',
  truncated: 'yellow',
  dropped: 'red',
  unknown: 'red',
};

function outcomeLines(table: OutcomeTable, paint: Paint): string {
  const header = ['Outcome', 'Reason', 'Samples', 'Share', ''].map((title) => paint('dim', title));
  const rows = table.rows.map(({ outcome, reason, sentence, count, share }) => [
    paint(OUTCOME_STYLES[outcome] ?? 'dim', outcome),
    reason,
    grouped(count),
    outcome === 'filtered' ? '' : percent(share),
    // What went well needs no explanation.
    outcome === 'truncated' || outcome === 'dropped' ? paint('dim', sentence) : '',
  ]);
  const sum = [paint('bold', 'fired'), '', paint('bold', grouped(table.fired)), '', ''];
  return alignedTable([header, ...rows, sum], [2, 3]);
}

function verdict(table: OutcomeTable, paint: Paint): string {
  if (table.unaccounted !== 0) {
    const text = `${grouped(table.unaccounted)} samples fired without an outcome; please report this.`;
    return paint('red', text);
  }
  if (table.userStacks === 0) return 'No user stack was sampled: the target did not run on a CPU meanwhile.';
  const whole = table.userStacks - (table.byOutcome.truncated ?? 0);
  const text = `${grouped(whole)} of ${grouped(table.userStacks)} user stacks reach their root`;
  if (whole === table.userStacks) return paint('green', `${text}.`);
  return paint('yellow', `${text}; truncated ratio ${percent(table.truncatedRatio)}.`);
}

const HOW_TO_OPEN: Readonly<Record<OutputFormat, (path: string) => string>> = {
  html: () => 'open it in a web browser',
  folded: () => 'one stack a line, for flamegraph.pl, inferno or speedscope.app',
  pprof: (path) => `open it with \`go tool pprof -http=: ${quoted(path)}\``,
  'otlp-json': () => 'an OTLP ProfilesData message in JSON',
  raw: () => 'one JSON object a line and distinct stack',
};

/** As a shell takes it. */
function quoted(path: string): string {
  return /^[\w./:@%+-]+$/.test(path) ? path : `'${path.replaceAll("'", `'\\''`)}'`;
}

export function formatBytes(bytes: number): string {
  if (bytes < 1000) return `${bytes} bytes`;
  const units = ['kB', 'MB', 'GB'];
  let value = bytes / 1000;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${value >= 99.5 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}
