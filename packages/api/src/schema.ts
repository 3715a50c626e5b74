// SPDX-License-Identifier: Apache-2.0
/** What zod lacks for schemas that also become CRDs: rules in CEL and TypeScript side by side, and list types. */
import { z } from 'zod';

/** One validation: the API server evaluates `cel`, this code evaluates `check`; both say `message`. */
export interface Rule<T> {
  cel: string;
  check: (value: T) => boolean;
  message: string;
}

/** Adds rules to a schema, for the API server (CEL) and for files read without one (refinement). */
export function withRules<S extends z.ZodType>(schema: S, rules: readonly Rule<z.output<S>>[]): S {
  const meta: Record<string, unknown> = { ...schema.meta() };
  const earlier = (meta['x-kubernetes-validations'] ?? []) as object[];
  meta['x-kubernetes-validations'] = [...earlier, ...rules.map(({ cel, message }) => ({ rule: cel, message }))];
  let refined = schema;
  for (const { check, message } of rules) refined = refined.refine(check, { message }) as S;
  return refined.meta(meta) as S;
}

/** A list without duplicates; the API server merges it as a set. */
export function setOf<S extends z.ZodType>(item: S, max: number) {
  return z.array(item).max(max).meta({ 'x-kubernetes-list-type': 'set' });
}

/** A list of objects identified by `keys`; server-side apply merges it item by item. */
export function mapOf<S extends z.ZodType>(item: S, max: number, keys: readonly string[]) {
  return z
    .array(item)
    .max(max)
    .meta({ 'x-kubernetes-list-type': 'map', 'x-kubernetes-list-map-keys': [...keys] });
}

/** An ordered list that has one owner. */
export function listOf<S extends z.ZodType>(item: S, max: number) {
  return z.array(item).max(max).meta({ 'x-kubernetes-list-type': 'atomic' });
}

/** A number or a string of the given form, such as `3` and `"10%"`. */
export function intOrString(pattern: RegExp, message: string) {
  const schema = z.union([z.int().min(0).max(1_000_000), z.string().max(16).regex(pattern, { error: message })]);
  return schema.meta({
    'x-kubernetes-int-or-string': true,
    'x-kubernetes-validations': [
      { rule: `type(self) == int ? self >= 0 : self.matches('${pattern.source}')`, message },
    ],
  });
}

/** How many of `total` an int-or-percentage means. */
export function scaled(value: number | string, total: number, round: (value: number) => number): number {
  if (typeof value === 'string' && value.endsWith('%')) return round((Number.parseInt(value, 10) / 100) * total);
  return Number(value);
}
