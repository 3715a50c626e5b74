// SPDX-License-Identifier: Apache-2.0
/** From the arguments of `plumbline record` to what is asked for. Pure but for a look at the process or command itself. */
import { basename } from 'node:path';
import { AgentError } from '../errors.ts';
import { displayName, readProcessIdentity } from '../metadata/process-identity.ts';
import {
  MAX_FREQUENCY_HZ,
  MAX_USER_FRAMES,
  RECORD_EVENTS,
  type RecordOptions,
  type RecordTarget,
  STRATEGY_CHOICES,
} from '../recording-options.ts';
import { findCommand } from '../stopped-command.ts';
import { textOf } from './arguments.ts';
import type { Arguments } from './command.ts';
import { parseChoiceFlag, parseDurationFlag, parseIntegerFlag, usage } from './flag-values.ts';
import { extensionOf, formatOfName, OUTPUT_FORMATS, type OutputFormat } from './output-format.ts';
import { clip, printable } from './terminal.ts';

export const DEFAULT_FREQUENCY_HZ = 99;
export const DEFAULT_DURATION_MS = 10_000;
export const DEFAULT_MAX_FRAMES = MAX_USER_FRAMES;
/** PID_MAX_LIMIT of 64-bit kernels. */
const MAX_PID = 2 ** 22;
const MIN_FRAMES = 16;
/** Characters of a command line that are shown. */
const MAX_COMMAND_TEXT = 60;

export interface RecordRequest {
  readonly options: Omit<RecordOptions, 'abort'>;
  readonly format: OutputFormat;
  /** undefined: standard output. */
  readonly path: string | undefined;
  /** For people: `postgres (pid 4242)`. */
  readonly what: string;
  readonly json: boolean;
  readonly foldRecursion: boolean;
}

export interface RequestContext {
  readonly searchPath: string | undefined;
  readonly stdoutIsTerminal: boolean;
  readonly now: Date;
  readonly procRoot?: string;
}

export function readRecordRequest(args: Arguments, context: RequestContext): RecordRequest {
  const number = (name: string, fallback: number, min: number, max: number) => {
    const text = textOf(args, name);
    return text === undefined ? fallback : parseIntegerFlag(`--${name}`, text, min, max);
  };
  const choice = <T extends string>(name: string, fallback: T, choices: readonly T[]) => {
    const text = textOf(args, name);
    return text === undefined ? fallback : parseChoiceFlag(`--${name}`, text, choices);
  };
  // Everything that can be wrong with the line itself comes before looks at the machine.
  const kind = readTargetKind(args);
  const pids = kind === 'pid' ? (textOf(args, 'pid') as string).split(',') : [];
  const numbers = pids.map((text) => parseIntegerFlag('--pid', text, 1, MAX_PID));
  const durationText = textOf(args, 'duration');
  const endless = kind === 'command' ? Number.POSITIVE_INFINITY : DEFAULT_DURATION_MS;
  const durationMs = durationText === undefined ? endless : parseDurationFlag('--duration', durationText);
  const frequency = number('frequency', DEFAULT_FREQUENCY_HZ, 1, MAX_FREQUENCY_HZ);
  const strategy = choice('strategy', 'auto', STRATEGY_CHOICES);
  const event = choice('event', 'cpu-clock', RECORD_EVENTS);
  const maxFrames = number('max-frames', DEFAULT_MAX_FRAMES, MIN_FRAMES, MAX_USER_FRAMES);
  const json = args.flags.json === true;
  const output = textOf(args, 'output');
  if (output === '') throw usage('--output is empty', 'give the name of a file, or - for standard output');
  if (output === '-' && json) {
    throw usage('--json and --output - both want standard output', 'give a file: --output NAME');
  }
  const toStdout = output === '-' || (output === undefined && !context.stdoutIsTerminal && !json && kind !== 'command');
  const fallback = toStdout || output !== undefined ? 'folded' : 'html';
  const format = choice('format', (output && formatOfName(output)) || fallback, OUTPUT_FORMATS);

  const foldRecursion = args.flags['fold-recursion'] === true;
  if (foldRecursion && format === 'raw') throw usage('--fold-recursion is not for raw stacks');
  const { target, what, fileWord } = findTarget(kind, numbers, args, context, toStdout || json);
  return {
    options: { target, durationMs, frequency, event, strategy, maxFrames, keepRawStacks: format === 'raw' },
    format,
    path: toStdout ? undefined : (output ?? datedName(fileWord, context.now, format)),
    what,
    json,
    foldRecursion,
  };
}

function readTargetKind(args: Arguments): RecordTarget['kind'] {
  const given = [
    ...(args.flags.pid !== undefined ? (['pid'] as const) : []),
    ...(args.flags.all !== undefined ? (['all'] as const) : []),
    ...(args.rest !== undefined ? (['command'] as const) : []),
  ];
  if (given.length === 0) {
    throw usage('nothing to record', 'give --pid PID, --all, or a command after `--`');
  }
  if (given.length > 1) throw usage('--pid, --all and a command exclude each other', 'give one of them');
  if (given[0] === 'command' && args.rest?.length === 0) {
    throw usage('no command after `--`', 'write it there: plumbline record -- make -j4');
  }
  return given[0];
}

interface FoundTarget {
  readonly target: RecordTarget;
  readonly what: string;
  /** Part of the name of the default file. */
  readonly fileWord: string;
}

function findTarget(
  kind: RecordTarget['kind'],
  pids: readonly number[],
  args: Arguments,
  context: RequestContext,
  stdoutIsOurs: boolean,
): FoundTarget {
  switch (kind) {
    case 'all':
      return { target: { kind: 'all' }, what: 'all processes', fileWord: 'all' };
    case 'pid': {
      const [pid, ...others] = pids;
      const [name] = pids.map((each) => findProcess(each, context.procRoot));
      const more = others.length === 0 ? '' : ` and ${others.length} more`;
      const what = `${printable(name)} (pid ${pid})${more}`;
      return { target: { kind: 'pid', pid, ...(more ? { others } : {}) }, what, fileWord: `${name}-${pid}` };
    }
    case 'command': {
      const argv = args.rest as readonly string[];
      findCommand(argv[0], context.searchPath);
      const target = { kind: 'command', argv, stdout: stdoutIsOurs ? 'stderr' : 'inherit' } as const;
      return { target, what: clip(printable(argv.join(' ')), MAX_COMMAND_TEXT), fileWord: basename(argv[0]) };
    }
  }
}

/** Name of a running process; says what is wrong with the number otherwise. */
export function findProcess(pid: number, procRoot = '/proc'): string {
  const identity = readProcessIdentity(pid, procRoot);
  if (identity === undefined) {
    throw new AgentError(
      'no_such_process',
      `there is no process ${pid}`,
      'find its number with `ps -e` or `pgrep NAME`',
    );
  }
  if (identity.threadGroup !== pid) {
    const remedy = `record its process: --pid ${identity.threadGroup}`;
    throw new AgentError('no_such_process', `${pid} is a thread of process ${identity.threadGroup}`, remedy);
  }
  if (identity.state === 'Z' || identity.state === 'X') {
    const message = `process ${pid} (${printable(identity.name)}) has ended already`;
    throw new AgentError(
      'process_gone',
      message,
      'only its parent has not taken note yet; record the parent, or start it again',
    );
  }
  return displayName(identity);
}

/** `plumbline-make-20261127-152400.html`, in local time. */
export function datedName(word: string, now: Date, format: OutputFormat): string {
  const two = (value: number) => String(value).padStart(2, '0');
  const day = `${now.getFullYear()}${two(now.getMonth() + 1)}${two(now.getDate())}`;
  const time = `${two(now.getHours())}${two(now.getMinutes())}${two(now.getSeconds())}`;
  const safe = word.replace(/[^\w.+-]+/g, '_').slice(0, 60) || 'command';
  return `plumbline-${safe}-${day}-${time}${extensionOf(format)}`;
}
