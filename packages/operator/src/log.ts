// SPDX-License-Identifier: Apache-2.0

export const LOG_LEVELS = ['debug', 'info', 'warn', 'error'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];
export type LogFields = Record<string, string | number | boolean | undefined>;

export type Logger = Record<LogLevel, (message: string, fields?: LogFields) => void>;

/** One JSON object a line, on standard error. */
export function jsonLogger(level: LogLevel, write = (line: string) => void process.stderr.write(line)): Logger {
  const threshold = LOG_LEVELS.indexOf(level);
  const logAt =
    (at: LogLevel) =>
    (message: string, fields: LogFields = {}) => {
      if (LOG_LEVELS.indexOf(at) < threshold) return;
      write(`${JSON.stringify({ time: new Date().toISOString(), level: at, message, ...fields })}\n`);
    };
  return { debug: logAt('debug'), info: logAt('info'), warn: logAt('warn'), error: logAt('error') };
}
