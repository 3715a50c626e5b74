// SPDX-License-Identifier: Apache-2.0
/** What a stream can show: colours, width, lines rewritten in place. */

export interface OutputStream {
  write(text: string | Uint8Array, callback?: (error?: Error | null) => void): boolean;
  readonly isTTY?: boolean;
  readonly columns?: number;
}

export type Environment = Readonly<Record<string, string | undefined>>;

const CODES = { bold: '1', dim: '2', red: '31', green: '32', yellow: '33', cyan: '36' } as const;
export type Style = keyof typeof CODES;
/** Text in a style, or as it is where colours are off. */
export type Paint = (style: Style, text: string) => string;

export const plain: Paint = (_style, text) => text;
const colored: Paint = (style, text) => (text === '' ? '' : `\x1b[${CODES[style]}m${text}\x1b[0m`);

/** NO_COLOR (https://no-color.org) and FORCE_COLOR win over what the stream is; TERM=dumb has none. */
export function colorsOf(stream: OutputStream, env: Environment): boolean {
  if (env.NO_COLOR !== undefined && env.NO_COLOR !== '') return false;
  if (env.FORCE_COLOR !== undefined && env.FORCE_COLOR !== '') return env.FORCE_COLOR !== '0';
  return stream.isTTY === true && env.TERM !== 'dumb';
}

export function paintFor(stream: OutputStream, env: Environment): Paint {
  return colorsOf(stream, env) ? colored : plain;
}

/** Whether one line can be rewritten again and again. */
export function isInteractive(stream: OutputStream, env: Environment): boolean {
  return stream.isTTY === true && env.TERM !== 'dumb' && env.CI !== 'true';
}

/** Columns of the terminal, 100 where they are not known, at least 40. */
export function widthOf(stream: OutputStream): number {
  return Math.max(40, stream.columns || 100);
}

/** Number of columns that `text` takes on a terminal, without its escape sequences. */
export function visibleLength(text: string): number {
  return Array.from(withoutStyles(text)).length;
}

export function withoutStyles(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: escape sequences are what is looked for
  return text.replace(/\x1b\[[0-9;]*m/g, '');
}

/** Cuts unstyled text to `columns`, the last one an ellipsis. */
export function clip(text: string, columns: number): string {
  const characters = Array.from(text);
  return characters.length <= columns ? text : `${characters.slice(0, Math.max(0, columns - 1)).join('')}…`;
}

/** Text of untrusted origin (names of processes, paths) without control characters, which could drive the terminal. */
export function printable(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is replaced
  return text.replace(/[\x00-\x1f\x7f-\x9f]/g, '?');
}

/** Words wrapped to lines of at most `columns`, each line after the first indented. */
export function wrap(text: string, columns: number, indent = ''): string {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(/\s+/)) {
    if (line !== '' && visibleLength(line) + 1 + visibleLength(word) > columns) {
      lines.push(line);
      line = indent + word;
    } else {
      line = line === '' ? word : `${line} ${word}`;
    }
  }
  return [...lines, line].join('\n');
}
