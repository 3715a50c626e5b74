// SPDX-License-Identifier: Apache-2.0
/** Formats of a recording, and how each is made of its result. Encoders load on demand. */
import type { RawStack, RecordResult } from '../recording-options.ts';

export const OUTPUT_FORMATS = ['folded', 'pprof', 'otlp-json', 'html', 'raw'] as const;
export type OutputFormat = (typeof OUTPUT_FORMATS)[number];

/** What a file is called at its end; the first of a format is given to files without a name of their own. */
const EXTENSIONS: readonly (readonly [string, OutputFormat])[] = [
  ['.html', 'html'],
  ['.htm', 'html'],
  ['.folded', 'folded'],
  ['.txt', 'folded'],
  ['.pb.gz', 'pprof'],
  ['.pprof', 'pprof'],
  ['.pb', 'pprof'],
  ['.otlp.json', 'otlp-json'],
  ['.json', 'otlp-json'],
  ['.jsonl', 'raw'],
  ['.raw', 'raw'],
];

export function extensionOf(format: OutputFormat): string {
  return (EXTENSIONS.find(([, candidate]) => candidate === format) as readonly [string, OutputFormat])[0];
}

/** The format that a file's name asks for, if it does. */
export function formatOfName(path: string): OutputFormat | undefined {
  return EXTENSIONS.find(([extension]) => path.toLowerCase().endsWith(extension))?.[1];
}

export interface EncodeOptions {
  readonly version: string;
  /** Write frames that repeat in a row once, with their count. */
  readonly foldRecursion?: boolean;
  /** Of the HTML page: title, facts below it, and what each reason means. */
  readonly title: string;
  readonly facts: { name: string; value: string }[];
  readonly sentences: ReadonlyMap<string, string>;
}

/** The recording in a format, in pieces that are written one after the other. */
export async function* encode(
  format: OutputFormat,
  result: RecordResult,
  options: EncodeOptions,
): AsyncGenerator<string | Uint8Array> {
  const { foldRecursion } = options;
  const profile =
    foldRecursion && format !== 'folded'
      ? (await import('../export/fold-recursion.ts')).foldRecursion(result.profile)
      : result.profile;
  switch (format) {
    case 'folded':
      yield (await import('../export/folded.ts')).encodeFolded(profile, { foldRecursion });
      return;
    case 'pprof':
      yield await (await import('../export/pprof.ts')).encodePprof(profile);
      return;
    case 'otlp-json':
      yield (await import('../export/otlp-json.ts')).encodeOtlpJson(profile, { scopeVersion: options.version });
      yield '\n';
      return;
    case 'html':
      yield (await import('../export/html.ts')).encodeHtml(profile, options);
      return;
    case 'raw':
      for (const stack of result.rawStacks()) yield `${rawLine(stack)}\n`;
      return;
  }
}

function rawLine(stack: RawStack): string {
  return JSON.stringify(stack, (_key, value) => (typeof value === 'bigint' ? `0x${value.toString(16)}` : value));
}
