// SPDX-License-Identifier: Apache-2.0

import type { Command, Flag } from './command.ts';
import { HELP_FLAG } from './command.ts';
import { alignedTable } from './table.ts';
import type { Paint } from './terminal.ts';
import { wrap } from './terminal.ts';

const MAX_COLUMNS = 110;

const EXAMPLES = [
  '  sudo plumbline record --all --duration 10s --output cpu.html',
  '  sudo plumbline record -- make -j4',
  '  plumbline doctor',
];

/** `plumbline`, or `kubectl plumbline`. */
export interface Program {
  readonly name: string;
  readonly commands: readonly { readonly name: string; readonly summary: string }[];
}

/** The help text of the program: what it is, its commands, where to go on. */
export function programHelp({ name: program, commands }: Program, paint: Paint): string {
  return [
    'Plumbline profiles programs with eBPF and says of every stack whether it reached the bottom, and if not, why.',
    '',
    paint('bold', 'Usage'),
    `  ${program} <command> [flags]`,
    '',
    paint('bold', 'Commands'),
    alignedTable(commands.map(({ name, summary }) => [paint('cyan', name), summary])),
    '',
    ...(program === 'plumbline' ? [paint('bold', 'Examples'), ...EXAMPLES, ''] : []),
    `Run \`${program} <command> --help\` for its flags and examples.`,
    '',
  ].join('\n');
}

export async function commandHelp(
  command: Command,
  paint: Paint,
  columns: number,
  program = 'plumbline',
): Promise<string> {
  const width = Math.min(columns, MAX_COLUMNS);
  const sections = [
    wrap(command.summary, width),
    section(paint, 'Usage', command.usage.map((line) => `  ${program} ${command.name} ${line}`.trimEnd()).join('\n')),
    section(paint, 'Flags', flagTable([...command.flags, HELP_FLAG], paint, width)),
    ...(command.notes ?? []).map((note) => wrap(note, width)),
    section(
      paint,
      'Examples',
      command.examples.map(({ what, command: line }) => `  ${paint('dim', `# ${what}`)}\n  ${line}`).join('\n'),
    ),
  ];
  if (command.details !== undefined) sections.push(section(paint, 'Configuration', await command.details()));
  return `${sections.join('\n\n')}\n`;
}

function section(paint: Paint, title: string, body: string): string {
  return `${paint('bold', title)}\n${body}`;
}

function flagTable(flags: readonly Flag[], paint: Paint, width: number): string {
  const left = flags.map((flag) => {
    const short = flag.short === undefined ? '    ' : `-${flag.short}, `;
    return `${short}--${flag.name}${flag.value === undefined ? '' : ` ${flag.value}`}`;
  });
  const column = Math.max(...left.map((text) => text.length)) + 4;
  return flags
    .map((flag, index) => {
      const lines = wrap(flag.help, Math.max(30, width - column)).split('\n');
      const rest = lines.slice(1).map((line) => `\n${' '.repeat(column)}${line}`);
      return `  ${paint('cyan', left[index])}${' '.repeat(column - 2 - left[index].length)}${lines[0]}${rest.join('')}`;
    })
    .join('\n');
}
