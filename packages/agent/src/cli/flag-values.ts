// SPDX-License-Identifier: Apache-2.0
/** From the text of a flag to its value. Each parser throws an AgentError of code `usage` that says what may stand there. */
import { AgentError } from '../errors.ts';
import { suggestion } from '../nearest-word.ts';

const UNITS: Record<string, number> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };
const MAX_DURATION_MS = 7 * 24 * 3_600_000;

export function usage(message: string, remedy = ''): AgentError {
  return new AgentError('usage', message, remedy);
}

/** Milliseconds of `10s`, `500ms`, `1.5m`, `1h30m`; above 0 and at most a week. */
export function parseDurationFlag(flag: string, text: string): number {
  if (/^[0-9.]+$/.test(text)) throw usage(`${flag} ${text} has no unit`, `write ${flag} ${text}s for seconds`);
  if (!/^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$/.test(text)) {
    throw usage(`${flag} ${JSON.stringify(text)} is not a duration`, 'write it as 500ms, 10s, 5m or 1h30m');
  }
  let total = 0;
  for (const [, number, unit] of text.matchAll(/([0-9.]+)(ms|s|m|h)/g)) total += Number(number) * UNITS[unit];
  if (total < 1 || total > MAX_DURATION_MS)
    throw usage(`${flag} ${text} is out of range`, 'it may be from 1ms to 168h');
  return Math.round(total);
}

export function parseIntegerFlag(flag: string, text: string, min: number, max: number): number {
  const value = Number(text);
  if (!/^[0-9]+$/.test(text) || value < min || value > max) {
    throw usage(`${flag} ${JSON.stringify(text)} is not a number from ${min} to ${max}`);
  }
  return value;
}

export function parseChoiceFlag<T extends string>(flag: string, text: string, choices: readonly T[]): T {
  const found = choices.find((choice) => choice.toLowerCase() === text.toLowerCase());
  if (found !== undefined) return found;
  throw usage(
    `${flag} ${JSON.stringify(text)} is not known${suggestion(text, choices)}`,
    `it may be ${orList(choices)}`,
  );
}

/** `a, b or c` */
export function orList(words: readonly string[]): string {
  return words.length < 2 ? words.join('') : `${words.slice(0, -1).join(', ')} or ${words.at(-1)}`;
}

/** `8.2s`, `1m05s`, `340ms`: for people, rounded. */
export function formatElapsed(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)}ms`;
  const tenths = Math.round(ms / 100);
  if (tenths < 600) return tenths % 10 === 0 ? `${tenths / 10}s` : `${(tenths / 10).toFixed(1)}s`;
  const seconds = Math.round(ms / 1000);
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m${String(seconds % 60).padStart(2, '0')}s`;
  return `${Math.floor(seconds / 3600)}h${String(Math.floor((seconds % 3600) / 60)).padStart(2, '0')}m`;
}
