// SPDX-License-Identifier: Apache-2.0
/** From untrusted values to typed ones, with messages that name the field and say what it may be. */
import type { z } from 'zod';
import { configHash } from './config-hash.ts';
import { API_VERSION, NODE_PROFILING_CONFIG } from './meta.ts';
import { NodeProfilingSpec } from './node-profiling-config.ts';

/** A document that does not fit its schema. `problems` has one sentence per field, first the path. */
export class InvalidConfigError extends Error {
  override readonly name = 'InvalidConfigError';
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super(problems.join('; '));
    this.problems = problems;
  }
}

/**
 * The effective configuration in a file: a NodeProfilingConfig, or its `spec` alone. Unknown fields are errors, because
 * in a file they are typing mistakes. The result carries its hash. Throws {@link InvalidConfigError}.
 */
export function parseNodeProfilingFile(document: unknown): NodeProfilingSpec {
  const spec = specOf(document ?? {});
  const parsed = parseSpec(spec);
  const unknown = unknownFields(spec, parsed, 'spec');
  if (unknown.length > 0) throw new InvalidConfigError(unknown.map((path) => `${path}: unknown field`));
  return { ...parsed, configHash: configHash(parsed) };
}

/**
 * The `spec` of an object from the API server. Fields that a newer schema added are left out. Throws
 * {@link InvalidConfigError}.
 */
export function parseNodeProfilingSpec(spec: unknown): NodeProfilingSpec {
  return parseSpec(spec);
}

function parseSpec(spec: unknown): NodeProfilingSpec {
  const result = NodeProfilingSpec.safeParse(spec);
  if (!result.success) throw new InvalidConfigError(problemsOf(result.error, 'spec'));
  return result.data;
}

function specOf(document: unknown): unknown {
  if (!isObject(document)) throw new InvalidConfigError(['a configuration is a mapping, such as `exports: [...]`']);
  const { apiVersion, kind, spec } = document;
  if (apiVersion === undefined && kind === undefined && spec === undefined) return document;
  if (apiVersion !== undefined && apiVersion !== API_VERSION) {
    throw new InvalidConfigError([`apiVersion: must be ${API_VERSION}, not ${JSON.stringify(apiVersion)}`]);
  }
  if (kind !== undefined && kind !== NODE_PROFILING_CONFIG.kind) {
    throw new InvalidConfigError([`kind: must be ${NODE_PROFILING_CONFIG.kind}, not ${JSON.stringify(kind)}`]);
  }
  return spec ?? {};
}

/** One line per issue of a zod error: `spec.rules[0].frequencyHz: must be ...`. */
export function problemsOf(error: z.ZodError, root: string): string[] {
  return error.issues.map(({ path, message }) => `${pathText(root, path)}: ${message}`);
}

function pathText(root: string, path: readonly PropertyKey[]): string {
  return path.reduce<string>((text, key) => text + (typeof key === 'number' ? `[${key}]` : `.${String(key)}`), root);
}

function unknownFields(input: unknown, parsed: unknown, path: string): string[] {
  if (Array.isArray(input) && Array.isArray(parsed)) {
    return input.flatMap((item, index) => unknownFields(item, parsed[index], `${path}[${index}]`));
  }
  if (!isObject(input) || !isObject(parsed)) return [];
  return Object.keys(input).flatMap((key) =>
    Object.hasOwn(parsed, key) || input[key] === undefined
      ? unknownFields(input[key], parsed[key], `${path}.${key}`)
      : [`${path}.${key}`],
  );
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
