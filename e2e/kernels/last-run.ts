// SPDX-License-Identifier: Apache-2.0
/** The result of a run of the matrix, as it is committed, and as a table. Nothing in it changes from run to run when the outcome does not. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

export const LAST_RUN = join(import.meta.dirname, 'last-run.json');

export interface StrategyRun {
  /** By `fixture depth`: `complete`, `truncated: reason` where that is right, or `wrong`. */
  readonly fixtures: Record<string, string>;
}

export interface KernelRun {
  readonly series: string;
  readonly suite: string;
  /** As `uname -r` says. */
  readonly release: string;
  /** Strategy that `auto` chose. */
  readonly chosen: string;
  /** Of strategy tailCall, if it was chosen. */
  readonly framesPerProgram: number;
  /** Found by the probes, in alphabetical order. */
  readonly features: readonly string[];
  readonly strategies: Readonly<Record<string, StrategyRun>>;
}

export interface LastRun {
  /** Oldest first. */
  readonly kernels: readonly KernelRun[];
}

export function readLastRun(): LastRun {
  return JSON.parse(readFileSync(LAST_RUN, 'utf8')) as LastRun;
}

/** A table in Markdown: a line per fixture, a column per kernel and strategy. */
export function tableOf({ kernels }: LastRun): string {
  const columns = kernels.flatMap(({ series, strategies }) =>
    Object.entries(strategies).map(([name, { fixtures }]) => ({ head: `${series} ${name}`, fixtures })),
  );
  const names = [...new Set(columns.flatMap(({ fixtures }) => Object.keys(fixtures)))];
  const row = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  return [
    row(['fixture and depth', ...columns.map(({ head }) => head)]),
    row(['---', ...columns.map(() => '---')]),
    ...names.map((name) => row([name, ...columns.map(({ fixtures }) => fixtures[name] ?? 'not run')])),
  ].join('\n');
}
