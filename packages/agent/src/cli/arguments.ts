// SPDX-License-Identifier: Apache-2.0
import { parseArgs } from 'node:util';
import { suggestion } from '../nearest-word.ts';
import type { Arguments, Command, Flag } from './command.ts';
import { HELP_FLAG } from './command.ts';
import { usage } from './flag-values.ts';

/** Reads the words after a command's name. Throws an AgentError of code `usage` in one line that says what to write instead. */
export function readArguments(command: Command, words: readonly string[], program = 'plumbline'): Arguments {
  const known = [...command.flags, HELP_FLAG];
  const { tokens } = parseArgs({
    args: [...words],
    strict: false,
    allowPositionals: true,
    tokens: true,
    options: Object.fromEntries(known.map((flag) => [flag.name, optionOf(flag)])),
  });
  const flags: Record<string, string | true> = {};
  const positionals: string[] = [];
  let rest: string[] | undefined;
  const help = `see \`${program} ${command.name} --help\``;
  for (const token of tokens) {
    if (token.kind === 'option-terminator') {
      rest = words.slice(token.index + 1);
      break;
    }
    if (token.kind === 'positional') {
      positionals.push(token.value);
      continue;
    }
    const flag = known.find((f) => f.name === token.name && token.rawName.startsWith('-'));
    if (flag === undefined) {
      const names = known.map((f) => f.name);
      throw usage(`unknown flag ${token.rawName}${suggestion(token.name, names, '--')}`, help);
    }
    if (flag.value === undefined && token.value !== undefined) {
      throw usage(`--${flag.name} takes no value, but got ${JSON.stringify(token.value)}`);
    }
    // parseArgs takes the next word whatever it is; a flag there means that the value was forgotten.
    const forgotten = token.value === undefined || (!token.inlineValue && /^--?[a-z]/i.test(token.value));
    if (flag.value !== undefined && forgotten)
      throw usage(`--${flag.name} needs a value: --${flag.name} ${flag.value}`);
    if (flags[flag.name] !== undefined) throw usage(`--${flag.name} is given twice`);
    flags[flag.name] = token.value ?? true;
  }
  const allowed = command.positionals?.length ?? 0;
  if (positionals.length > allowed && flags.help === undefined) {
    const hint = command.takesRest === true ? 'put a command to run after `--`' : help;
    throw usage(`unexpected argument ${JSON.stringify(positionals[allowed])}`, hint);
  }
  if (rest !== undefined && command.takesRest !== true) throw usage('`--` is not expected here', help);
  return { flags, positionals, rest };
}

function optionOf(flag: Flag): { type: 'string' | 'boolean'; short?: string } {
  const type = flag.value === undefined ? 'boolean' : 'string';
  return flag.short === undefined ? { type } : { type, short: flag.short };
}

/** The text of a flag with a value, or undefined when it is absent. */
export function textOf(args: Arguments, name: string): string | undefined {
  const value = args.flags[name];
  return typeof value === 'string' ? value : undefined;
}
