// SPDX-License-Identifier: Apache-2.0
/**
 * Generates what TypeScript knows of the C headers that cross the line: `src/layout.gen.ts` and `docs/reasons.md`.
 *
 * The compiler is the referee: names are read from the headers, but sizes, offsets and values come from the BTF of an
 * object that mentions each of them once, and the reasons from the preprocessor.
 *
 *   node packages/bpf/scripts/generate-layout.ts [--check]
 */
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { deliver } from '../../../scripts/generated-files.ts';
import { type Btf, type BtfType, parseBtf } from '../src/btf.ts';
import { readBpfElf } from './bpf-elf.ts';
import { buildDirectory, clangFlags, compileBpf, findClang, sourceDirectory } from './compile-bpf.ts';

const HEADERS = ['abi.h', 'reasons.h'];

interface Reason {
  number: number;
  name: string;
  outcome: string;
  sentence: string;
}

/** Names that the headers define at the outermost level. */
function readNames() {
  const text = HEADERS.map((header) => readFileSync(join(sourceDirectory, header), 'utf8')).join('\n');
  const names = (pattern: RegExp) => [...new Set(Array.from(text.matchAll(pattern), (match) => match[1]))];
  return {
    structs: names(/^struct (\w+) \{/gm),
    enums: names(/^enum (\w+) \{/gm),
    limits: names(/^#define (\w+)[ \t]+\S/gm),
  };
}

/** Compiles a file that mentions each name in a global variable of its own, which is what makes clang emit its type. */
function compileAnchor(names: ReturnType<typeof readNames>): Btf {
  const source = join(buildDirectory, 'layout_anchor.bpf.c');
  const object = join(buildDirectory, 'layout_anchor.bpf.o');
  const lines = [
    '#include <linux/types.h>',
    ...HEADERS.map((header) => `#include "${header}"`),
    ...names.structs.map((name) => `struct ${name} anchor_struct_${name};`),
    ...names.enums.map((name) => `enum ${name} anchor_enum_${name};`),
    ...names.limits.map((name) => `enum anchor_${name} { anchor_value_${name} = (${name}) } anchor_limit_${name};`),
  ];
  execFileSync('mkdir', ['-p', buildDirectory]);
  writeFileSync(source, `${lines.join('\n')}\n`);
  compileBpf(source, object);
  const section = readBpfElf(readFileSync(object)).sections.get('.BTF');
  if (!section) throw new Error('the compiler emitted no BTF');
  return parseBtf(section);
}

/** The rows of an X-macro, as the preprocessor expands them; the last argument is a string literal. */
function readRows(macro: string): string[][] {
  const program = `#include "reasons.h"\n#define ROW(...) @row __VA_ARGS__ @end\n${macro}(ROW)\n`;
  const flags = clangFlags().filter((flag) => flag.startsWith('-I'));
  const expanded = execFileSync(findClang(), ['-E', '-P', '-x', 'c', ...flags, '-'], {
    input: program,
    encoding: 'utf8',
  });
  return Array.from(expanded.replaceAll(/\s+/g, ' ').matchAll(/@row (.*?) @end/g), ([, row]) => {
    const quote = row.indexOf('"');
    const sentence: string = JSON.parse(row.slice(quote).replaceAll(/"\s*"/g, ''));
    return [
      ...row
        .slice(0, quote)
        .split(',')
        .map((part) => part.trim())
        .filter(Boolean),
      sentence,
    ];
  });
}

function readReasons(): Reason[] {
  return readRows('REASONS').map(([number, name, outcome, sentence]) => ({
    number: Number(number),
    name,
    outcome,
    sentence,
  }));
}

/** How a member's type is named in the generated file: `u32`, `char[16]`, `unwind_rule`. */
function typeName(btf: Btf, type: BtfType): string {
  switch (type.kind) {
    case 'int':
      return type.char || type.name === 'char' ? 'char' : `${type.signed ? 's' : 'u'}${type.size * 8}`;
    case 'enum':
    case 'enum64':
      return `u${type.size * 8}`;
    case 'array':
      return `${typeName(btf, btf.resolve(type.element))}[${type.length}]`;
    case 'pointer':
      return 'u64';
    case 'struct':
    case 'union':
      if (type.name) return type.name;
  }
  throw new Error(`a ${type.kind} may not cross the line: give it a name, or use an integer`);
}

const literal = (value: bigint) => (value >= -(2n ** 53n) && value <= 2n ** 53n ? `${value}` : `${value}n`);

function renderStruct(btf: Btf, name: string): string {
  const struct = btf.find('struct', name);
  if (!struct) throw new Error(`struct ${name} is not in the BTF`);
  const members = struct.members.map((member) => {
    if (member.bitSize || member.bitOffset % 8)
      throw new Error(`struct ${name}: a bit field (${member.name}) may not cross the line`);
    return { name: member.name, offset: member.bitOffset / 8, type: typeName(btf, btf.resolve(member.type)) };
  });
  return [
    `  ${name}: {`,
    `    size: ${struct.size},`,
    `    offsets: { ${members.map((member) => `${member.name}: ${member.offset}`).join(', ')} },`,
    `    types: { ${members.map((member) => `${member.name}: '${member.type}'`).join(', ')} },`,
    '  },',
  ].join('\n');
}

function enumerators(btf: Btf, name: string) {
  const found = btf.find('enum', name) ?? btf.find('enum64', name);
  if (!found) throw new Error(`enum ${name} is not in the BTF`);
  return found.values;
}

function renderLayout(): string {
  const names = readNames();
  const btf = compileAnchor(names);
  const quoted = (text: string) => `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
  const enums = names.enums.map((name) => {
    const values = enumerators(btf, name).map((value) => `${value.name}: ${literal(value.value)}`);
    return `  ${name}: {\n    ${values.join(',\n    ')},\n  },`;
  });
  const limits = names.limits.map((name) => `  ${name}: ${literal(enumerators(btf, `anchor_${name}`)[0].value)},`);
  const outcomes = readRows('OUTCOMES').map(
    ([, name, sentence]) => `  { name: ${quoted(name)}, sentence: ${quoted(sentence)} },`,
  );
  const reasons = readReasons().map(
    ({ number, name, outcome, sentence }) =>
      `  { number: ${number}, name: ${quoted(name)}, outcome: ${quoted(outcome)}, sentence: ${quoted(sentence)} },`,
  );
  return `// Generated by scripts/generate-layout.ts from ${HEADERS.join(' and ')} of bpf/. Do not edit.
// SPDX-License-Identifier: Apache-2.0

/** Structures, little endian: size and offsets in bytes; types as u8 to u64, s8 to s64, char, or another structure. */
export const structs = {
${names.structs.map((name) => renderStruct(btf, name)).join('\n')}
} as const;

/** Enumerations, by the name of the enumerator. */
export const enums = {
${enums.join('\n')}
} as const;

/** Limits and flags (object-like macros); bigint above 2^53. */
export const limits = {
${limits.join('\n')}
} as const;

/** What can become of a sample, indexed by number. */
export const outcomes = [
${outcomes.join('\n')}
] as const;

/** Why: each sample has exactly one of these. Ordered by number, with gaps. */
export const reasons = [
${reasons.join('\n')}
] as const;

export type OutcomeName = (typeof outcomes)[number]['name'];
export type ReasonName = (typeof reasons)[number]['name'];
`;
}

function renderReasons(): string {
  const outcomes = readRows('OUTCOMES').map(([, name, sentence]) => `| \`${name}\` | ${sentence} |`);
  const reasons = readReasons().map(
    ({ number, name, outcome, sentence }) => `| ${number} | \`${name}\` | ${outcome} | ${sentence} |`,
  );
  return `<!-- Generated by packages/bpf/scripts/generate-layout.ts from packages/bpf/bpf/reasons.h. Do not edit. -->
# Outcomes and reasons

Every sample that fires gets exactly one reason, and with it one outcome. The names below are the labels of metrics, the
attributes of exported samples (\`plumbline.outcome\`, \`plumbline.reason\`) and the text of the synthetic root frame
\`[truncated: <reason>]\`. Numbers are stable and never reused.

| outcome | meaning |
|---|---|
${outcomes.join('\n')}

The truncated ratio is \`truncated / (complete + recovered + truncated)\`; dropped, filtered and kernel-only samples
are not in it.

| number | reason | outcome | meaning |
|---|---|---|---|
${reasons.join('\n')}
`;
}

deliver({
  'packages/bpf/src/layout.gen.ts': renderLayout(),
  'docs/reasons.md': renderReasons(),
});
