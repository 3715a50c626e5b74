// SPDX-License-Identifier: Apache-2.0
/**
 * From the text of a configuration file to a validated configuration. A file is a NodeProfilingConfig or its spec alone,
 * in YAML or JSON, with one more key: `agent`. Errors name the line, the key, what is wrong and, where it is clear, what
 * was meant.
 */
import { InvalidConfigError, type NodeProfilingSpec, parseNodeProfilingFile, problemsOf } from '@plumbline/api';
import { type Document, LineCounter, parseDocument } from 'yaml';
import { AgentError } from '../errors.ts';
import { nearest } from '../nearest-word.ts';
import { AgentSettings } from './agent-settings.ts';
import { keysAt } from './schema-keys.ts';

export interface ConfigDocument {
  readonly spec: NodeProfilingSpec;
  readonly settings: AgentSettings;
}

export const MAX_CONFIG_BYTES = 1 << 20;
/** How many problems one error names; the rest is counted. */
const MAX_PROBLEMS = 5;
const REMEDY = 'see `plumbline agent --help` for what it may hold';

/** @param name of the file, for messages. Throws an AgentError of code `config_invalid`. */
export function parseConfigDocument(text: string, name: string): ConfigDocument {
  if (text.length > MAX_CONFIG_BYTES) throw invalid(name, [{ text: `is larger than ${MAX_CONFIG_BYTES} bytes` }]);
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  if (document.errors.length > 0) {
    throw invalid(
      name,
      document.errors.map((error) => ({ line: lines.linePos(error.pos[0]).line, text: error.message })),
    );
  }
  const { agent, ...rest } = asMapping(toPlain(document, name), name);
  const wrapped = rest.spec !== undefined || rest.kind !== undefined || rest.apiVersion !== undefined;
  const problems: string[] = [];
  let spec: NodeProfilingSpec | undefined;
  try {
    spec = parseNodeProfilingFile(rest);
  } catch (error) {
    if (!(error instanceof InvalidConfigError)) throw error;
    problems.push(...error.problems);
  }
  const settings = AgentSettings.safeParse(agent ?? {});
  if (!settings.success) problems.push(...problemsOf(settings.error, 'agent'));
  problems.push(...unknownSettings(agent, ['agent']));
  if (spec === undefined || !settings.success || problems.length > 0) {
    throw invalid(
      name,
      problems.map((problem) => located(problem, document, lines, wrapped)),
    );
  }
  return { spec, settings: settings.data };
}

function toPlain(document: Document, name: string): unknown {
  try {
    return document.toJS({ maxAliasCount: 100 });
  } catch (error) {
    throw invalid(name, [{ text: (error as Error).message }]); // aliases that expand without end
  }
}

function asMapping(value: unknown, name: string): Record<string, unknown> {
  if (value === null || value === undefined) return {};
  if (typeof value !== 'object' || Array.isArray(value)) {
    throw invalid(name, [{ text: 'is not a mapping; a configuration starts with a key, such as `exports:`' }]);
  }
  return value as Record<string, unknown>;
}

/** Unknown fields are typing mistakes. Those of the spec are found by `parseNodeProfilingFile`. */
function unknownSettings(value: unknown, path: readonly string[]): string[] {
  if (typeof value !== 'object' || value === null) return [];
  const known = keysAt(path);
  return Object.entries(value).flatMap(([key, inner]) =>
    known.includes(key) ? unknownSettings(inner, [...path, key]) : [`${[...path, key].join('.')}: unknown field`],
  );
}

interface Problem {
  readonly line?: number;
  readonly text: string;
}

function invalid(name: string, problems: readonly Problem[]): AgentError {
  const shown = problems.slice(0, MAX_PROBLEMS).map(({ line, text }) => {
    return line === undefined ? `${name}: ${text}` : `${name}:${line}: ${text}`;
  });
  if (problems.length > MAX_PROBLEMS) shown.push(`and ${problems.length - MAX_PROBLEMS} more`);
  return new AgentError('config_invalid', shown.join('; '), REMEDY);
}

/** `spec.rules[0].x: message` with its line, its path as it stands in the file, and a message for people. */
function located(problem: string, document: Document, lines: LineCounter, wrapped: boolean): Problem {
  const [, pathText, message] = /^([^:]+): (.*)$/s.exec(problem) ?? [undefined, '', problem];
  const inFile = wrapped ? pathText : pathText.replace(/^spec\.?/, '');
  const path = inFile
    .split(/[.[\]]+/)
    .filter((part) => part !== '')
    .map((part) => (/^[0-9]+$/.test(part) ? Number(part) : part));
  const line = lineOf(document, lines, path);
  const text = `${inFile === '' ? '' : `${inFile}: `}${explained(message, path, wrapped)}`;
  return line === undefined ? { text } : { line, text };
}

/** Line of the innermost part of the path that the file has. */
function lineOf(document: Document, lines: LineCounter, path: readonly (string | number)[]): number | undefined {
  for (let length = path.length; length > 0; length--) {
    const node = document.getIn(path.slice(0, length), true) as { range?: [number, number, number] } | undefined;
    if (node?.range !== undefined && node.range !== null) return lines.linePos(node.range[0]).line;
  }
  return undefined;
}

function explained(message: string, path: readonly (string | number)[], wrapped: boolean): string {
  if (message === 'unknown field') return `unknown field${hint(String(path.at(-1)), path.slice(0, -1), wrapped)}`;
  const type = /^Invalid input: expected (\w+), received (\w+)$/.exec(message);
  if (type !== null) {
    const [, expected, received] = type;
    if (received === 'undefined') return 'is missing';
    return `must be a ${expected}, not a ${received}${expected === 'string' ? ' (write it in quotes)' : ''}`;
  }
  return message
    .replace(/^Too big: expected \w+ to be <=/, 'must be at most ')
    .replace(/^Too small: expected \w+ to be >=/, 'must be at least ')
    .replace(/^Invalid option: expected one of /, 'must be one of ')
    .replaceAll('"|"', '", "');
}

function hint(key: string, parent: readonly (string | number)[], wrapped: boolean): string {
  const path = parent[0] === 'agent' || wrapped ? parent : ['spec', ...parent];
  const keys = keysAt(path);
  if (key === 'otlp' && keys.includes('exports')) return ' (exports are a list: `exports: [{otlp: ...}]`)';
  const near = nearest(key, keys);
  return near === undefined
    ? keys.length === 0
      ? ''
      : `; fields here are ${keys.join(', ')}`
    : ` (did you mean ${near}?)`;
}
