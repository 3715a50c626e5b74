// SPDX-License-Identifier: Apache-2.0
/** From words to an exit code: finds the command, reads its arguments, prints its help or runs it, reports its error. */
import { AgentError } from '../errors.ts';
import { suggestion } from '../nearest-word.ts';
import { readArguments } from './arguments.ts';
import type { CommandContext } from './command.ts';
import { COMMANDS, type CommandEntry } from './commands.ts';
import { usage } from './flag-values.ts';
import { commandHelp, type Program, programHelp } from './help.ts';
import { paintFor, widthOf } from './terminal.ts';

export interface CommandLine extends CommandContext {
  /** Without the program itself. */
  readonly argv: readonly string[];
}

export const EXIT_FAILURE = 1;
export const EXIT_USAGE = 2;

export async function runCommandLine(line: CommandLine): Promise<number> {
  try {
    return await run(line);
  } catch (thrown) {
    return reportError(thrown, line);
  }
}

interface RunnableProgram extends Program {
  readonly commands: readonly CommandEntry[];
}

const PLUMBLINE: RunnableProgram = { name: 'plumbline', commands: COMMANDS };

async function run(line: CommandLine, program: RunnableProgram = PLUMBLINE): Promise<number> {
  const { name: programName, commands } = program;
  const [first, ...words] = line.argv;
  const paint = paintFor(line.stdout, line.env);
  if (first === undefined) {
    line.stderr.write(programHelp(program, paintFor(line.stderr, line.env)));
    return EXIT_USAGE;
  }
  // bin/kubectl-plumbline: the same program, of other commands.
  if (first === 'kubectl' && program === PLUMBLINE) {
    const { KUBECTL_COMMANDS } = await import('./kubectl/commands.ts');
    return run({ ...line, argv: words }, { name: 'kubectl plumbline', commands: KUBECTL_COMMANDS });
  }
  if (first === '--version' || first === '-V') return run({ ...line, argv: ['version', ...words] });
  if (first === '--help' || first === '-h' || first === 'help') {
    if (first === 'help' && words[0] !== undefined) return run({ ...line, argv: [words[0], '--help'] }, program);
    line.stdout.write(programHelp(program, paint));
    return 0;
  }
  const entry = commands.find((command) => command.name === first);
  if (entry === undefined) {
    const names = commands.map((command) => command.name);
    const what = first.startsWith('-') ? 'flag' : 'command';
    throw usage(`unknown ${what} ${first}${suggestion(first, names)}`, `see \`${programName} --help\``);
  }
  const command = await entry.load();
  const args = readArguments(command, words, programName);
  if (args.flags.help === true) {
    line.stdout.write(await commandHelp(command, paint, widthOf(line.stdout), programName));
    return 0;
  }
  return command.run(args, line);
}

/** The exit code of an error, told in one line on standard error; with `--json` also an object on standard output, so that a machine has one place to look. */
export function reportError(thrown: unknown, { argv, env, stdout, stderr }: CommandLine): number {
  const error = AgentError.from(thrown);
  const paint = paintFor(stderr, env);
  stderr.write(`${paint('red', 'plumbline:')} ${error.toLine()}\n`);
  const flags = argv.includes('--') ? argv.slice(0, argv.indexOf('--')) : argv;
  if (flags.includes('--json')) stdout.write(`${JSON.stringify({ error })}\n`);
  if (env.PLUMBLINE_LOG_LEVEL === 'debug') stderr.write(`${stackOf(error)}\n`);
  return error.code === 'usage' ? EXIT_USAGE : EXIT_FAILURE;
}

function stackOf(error: Error): string {
  const cause = error.cause instanceof Error ? `\ncaused by ${stackOf(error.cause)}` : '';
  return `${error.stack ?? error.message}${cause}`;
}
