// SPDX-License-Identifier: Apache-2.0
/** What a command is made of. A command is data (flags, texts) and one function; `help.ts` prints it, `arguments.ts` reads it. */
import type { Environment, OutputStream } from './terminal.ts';

export interface Flag {
  /** Long name without dashes. */
  readonly name: string;
  readonly short?: string;
  /** Name of the value in the help text; absent: the flag takes none. */
  readonly value?: string;
  readonly help: string;
}

export interface Example {
  readonly command: string;
  readonly what: string;
}

/** What was on the command line after the name of the command. */
export interface Arguments {
  /** By long name; flags without a value are `true`. */
  readonly flags: Readonly<Record<string, string | true | undefined>>;
  readonly positionals: readonly string[];
  /** What stood after `--`, or undefined when there was none. */
  readonly rest: readonly string[] | undefined;
}

/** The outside world as a command sees it. */
export interface CommandContext {
  readonly env: Environment;
  readonly stdout: OutputStream;
  readonly stderr: OutputStream;
}

export interface Command {
  readonly name: string;
  readonly summary: string;
  /** Lines after `plumbline <name>`. */
  readonly usage: readonly string[];
  readonly flags: readonly Flag[];
  /** Names of positional arguments; more than these are an error. */
  readonly positionals?: readonly string[];
  /** Whether `-- WORDS...` may follow. */
  readonly takesRest?: boolean;
  /** Paragraphs of the help text after the flags. */
  readonly notes?: readonly string[];
  /** More for the help text, computed only when it is shown. */
  readonly details?: () => Promise<string>;
  readonly examples: readonly Example[];
  /** Resolves to the exit code: 0 success, 1 failure, 2 wrong command line; errors are thrown as AgentError. */
  run(args: Arguments, context: CommandContext): Promise<number>;
}

export const HELP_FLAG: Flag = { name: 'help', short: 'h', help: 'Show this help.' };
