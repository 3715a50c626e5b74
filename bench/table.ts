// SPDX-License-Identifier: Apache-2.0
/** Figures as an aligned table on the terminal, and as Markdown for docs/performance.md. */
export interface Table {
  readonly title: string;
  /** What was run, so that anybody can run it again. */
  readonly command: string;
  readonly head: readonly string[];
  readonly rows: readonly (readonly string[])[];
  readonly notes?: readonly string[];
  /** Shown above the figures in docs/performance.md; `file` lies beside it. */
  readonly picture?: { readonly file: string; readonly about: string; readonly svg: string };
}

export function asText({ title, head, rows, notes = [] }: Table): string {
  const widths = head.map((cell, column) => Math.max(cell.length, ...rows.map((row) => row[column].length)));
  const line = (row: readonly string[]) =>
    `  ${row.map((cell, column) => (column === 0 ? cell.padEnd(widths[column]) : cell.padStart(widths[column]))).join('  ')}`;
  return [`\n${title}`, line(head), ...rows.map(line), ...notes.map((note) => `  ${note}`)].join('\n');
}

export function asMarkdown({ title, command, head, rows, notes = [], picture }: Table): string {
  const line = (row: readonly string[]) => `| ${row.join(' | ')} |`;
  return [
    `## ${title}`,
    '',
    `\`${command}\``,
    '',
    ...(picture ? [`![${picture.about}](${picture.file})`, ''] : []),
    line(head),
    line(head.map((_, column) => (column === 0 ? '---' : '---:'))),
    ...rows.map(line),
    '',
    ...notes.flatMap((note) => [note, '']),
  ].join('\n');
}

/** The middle of the values; of an even number the lower one of the two. */
export function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor((values.length - 1) / 2)] ?? Number.NaN;
}
