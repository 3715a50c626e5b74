// SPDX-License-Identifier: Apache-2.0
/**
 * Logging: one JSON object a line for machines, one readable line for a terminal, always on standard error. A message that
 * repeats is written once per window; the next one that is written says how many were left out.
 */

import type { Clock } from './clock.ts';
import { systemClock } from './clock.ts';
import { AgentError } from './errors.ts';

export const LOG_LEVELS = ['debug', 'info', 'warn', 'error'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

export type LogFields = Readonly<Record<string, unknown>>;

export interface Logger {
  /** `message` names the event and stays the same from call to call; what varies goes into `fields`. */
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
  /** A logger that adds these fields to each line; `component` is shown before the message on a terminal. */
  child(fields: LogFields): Logger;
  /** Whether this level is written: to avoid computing fields for nothing. */
  enabled(level: LogLevel): boolean;
}

export interface LogOptions {
  readonly level: LogLevel;
  readonly format: 'json' | 'text';
  readonly color?: boolean;
  readonly write: (line: string) => void;
  readonly clock?: Clock;
  /** A message repeats when level, component, message and `key` field are equal. 0: no limit. */
  readonly repeatWindowMs?: number;
}

/** How many distinct messages are watched for repetition; beyond it, the oldest are forgotten. */
const MAX_REMEMBERED = 512;

interface Remembered {
  writtenAtMs: number;
  suppressed: number;
}

export function createLogger(options: LogOptions): Logger {
  const clock = options.clock ?? systemClock;
  const window = options.repeatWindowMs ?? 10_000;
  const remembered = new Map<string, Remembered>();
  const threshold = LOG_LEVELS.indexOf(options.level);
  const render = options.format === 'json' ? renderJson : options.color ? renderColored : renderText;

  /** How many equal messages were left out since the last one written, or undefined when this one is left out too. */
  function admit(level: LogLevel, message: string, fields: LogFields): number | undefined {
    if (window === 0 || level === 'debug') return 0;
    const key = `${level}\0${String(fields.component ?? '')}\0${message}\0${String(fields.key ?? '')}`;
    const now = clock.wallMs();
    const last = remembered.get(key);
    if (last !== undefined && now >= last.writtenAtMs && now - last.writtenAtMs < window) {
      last.suppressed++;
      return undefined;
    }
    remembered.delete(key); // so that the map is ordered by time
    remembered.set(key, { writtenAtMs: now, suppressed: 0 });
    if (remembered.size > MAX_REMEMBERED) remembered.delete(remembered.keys().next().value as string);
    return last?.suppressed ?? 0;
  }

  function make(base: LogFields): Logger {
    const at = (level: LogLevel) => {
      const index = LOG_LEVELS.indexOf(level);
      return (message: string, fields?: LogFields) => {
        if (index < threshold) return;
        const all = fields === undefined ? base : { ...base, ...fields };
        const suppressed = admit(level, message, all);
        if (suppressed === undefined) return;
        const { key: _key, ...shown } = all;
        options.write(render(clock.wallMs(), level, message, suppressed === 0 ? shown : { ...shown, suppressed }));
      };
    };
    return {
      debug: at('debug'),
      info: at('info'),
      warn: at('warn'),
      error: at('error'),
      child: (fields) => make({ ...base, ...fields }),
      enabled: (level) => LOG_LEVELS.indexOf(level) >= threshold,
    };
  }
  return make({});
}

/** The logger of a program: text on a terminal, JSON elsewhere. */
export function createProcessLogger(level: LogLevel, stream: NodeJS.WriteStream, color: boolean): Logger {
  return createLogger({ level, format: stream.isTTY ? 'text' : 'json', color, write: (line) => stream.write(line) });
}

/** Says nothing; for tests and for library use. */
export const silentLogger: Logger = createLogger({ level: 'error', format: 'json', write: () => {} });

function renderJson(wallMs: number, level: LogLevel, message: string, fields: LogFields): string {
  return `${JSON.stringify({ time: new Date(wallMs).toISOString(), level, message, ...fields }, replacer)}\n`;
}

function renderText(wallMs: number, level: LogLevel, message: string, fields: LogFields): string {
  return textLine(wallMs, level.toUpperCase().padEnd(5), message, fields);
}

const LEVEL_COLORS: Record<LogLevel, string> = { debug: '2', info: '36', warn: '33', error: '31;1' };

function renderColored(wallMs: number, level: LogLevel, message: string, fields: LogFields): string {
  return textLine(wallMs, `\x1b[${LEVEL_COLORS[level]}m${level.toUpperCase().padEnd(5)}\x1b[0m`, message, fields);
}

function textLine(wallMs: number, level: string, message: string, fields: LogFields): string {
  const { component, ...rest } = fields;
  const pairs = Object.entries(rest).map(([name, value]) => ` ${name}=${textValue(value)}`);
  const time = new Date(wallMs).toISOString().slice(11, 23);
  return `${time} ${level} ${component === undefined ? '' : `${String(component)}: `}${message}${pairs.join('')}\n`;
}

function textValue(value: unknown): string {
  const plain = replacer('', value);
  if (typeof plain === 'string') return /^[\w./:@%+-]+$/.test(plain) ? plain : JSON.stringify(plain);
  if (value instanceof AgentError) return JSON.stringify(value.toLine());
  if (value instanceof Error) return JSON.stringify(value.message);
  return JSON.stringify(plain, replacer) ?? 'undefined';
}

/** JSON knows neither big integers nor errors. */
function replacer(_key: string, value: unknown): unknown {
  if (typeof value === 'bigint') return value.toString();
  if (value instanceof Error && !(value instanceof AgentError)) {
    const { code } = value as { code?: unknown };
    return { message: value.message, ...(code === undefined ? {} : { code }), stack: value.stack };
  }
  return value;
}
