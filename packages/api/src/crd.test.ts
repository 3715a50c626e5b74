// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';
import { z } from 'zod';
import { NODE_CONDITIONS, POLICY_CONDITIONS, REASONS } from './conditions.ts';
import { customResourceDefinition, KINDS, type StructuralSchema, structuralSchema } from './crd.ts';
import { apiReference } from './reference.ts';
import { intOrString, scaled } from './schema.ts';

test('generated files are up to date', () => {
  const script = join(import.meta.dirname, '../scripts/generate.ts');
  execFileSync(process.execPath, [script, '--check'], { stdio: ['ignore', 'ignore', 'pipe'] });
});

test('schemas without a structural form are refused with their path', () => {
  const refused = (schema: z.ZodType, message: RegExp) =>
    assert.throws(() => structuralSchema(z.object({ a: schema })), message);
  refused(z.union([z.string().max(1), z.object({})]), /\$\.a: anyOf/);
  refused(
    z.discriminatedUnion('k', [z.object({ k: z.literal('x') }), z.object({ k: z.literal('y') })]),
    /\$\.a: (oneOf|anyOf)/,
  );
  refused(z.strictObject({}), /\$\.a/);
  refused(z.string(), /\$\.a: no maxLength/);
  refused(z.array(z.int()), /\$\.a: no maxItems/);
  refused(z.array(z.int()).max(3), /\$\.a: no list type/);
  refused(z.record(z.string(), z.int()), /\$\.a: no maxProperties/);
  refused(
    z
      .string()
      .max(9)
      .regex(/^(?!x)/),
    /\$\.a: look-around/,
  );
  refused(z.any(), /\$\.a: no type/);
});

test('int-or-string, open objects and integers become what Kubernetes calls them', () => {
  const { properties } = structuralSchema(
    z.object({ n: intOrString(/^[0-9]+%$/, 'm'), open: z.looseObject({}), small: z.int().max(5), large: z.int() }),
  );
  assert.equal(properties?.n['x-kubernetes-int-or-string'], true);
  assert.equal(properties?.n.type, undefined);
  assert.equal(properties?.open['x-kubernetes-preserve-unknown-fields'], true);
  assert.deepEqual(properties?.small, { type: 'integer', maximum: 5, format: 'int32' });
  assert.deepEqual(properties?.large, { type: 'integer', format: 'int64' });
});

test('percentages scale with the rounding that the field promises', () => {
  assert.deepEqual([scaled('10%', 5, Math.ceil), scaled('10%', 5, Math.floor), scaled(3, 5, Math.ceil)], [1, 0, 3]);
  assert.equal(scaled('7', 100, Math.ceil), 7);
});

test('every field of both kinds is described', () => {
  const undescribed: string[] = [];
  const walk = (schema: StructuralSchema, path: string) => {
    for (const [name, property] of Object.entries(schema.properties ?? {})) {
      const item = property.items ?? property;
      if (!property.description && !item.description) undescribed.push(`${path}.${name}`);
      walk(item, `${path}.${name}`);
    }
  };
  for (const kind of KINDS) {
    walk(structuralSchema(kind.spec), `${kind.names.kind}.spec`);
    walk(structuralSchema(kind.status), `${kind.names.kind}.status`);
  }
  assert.deepEqual(undescribed, []);
});

test('the reference lists every condition, reason and field', () => {
  const text = apiReference();
  for (const name of [...Object.keys(POLICY_CONDITIONS), ...Object.keys(NODE_CONDITIONS), ...Object.keys(REASONS)]) {
    assert.ok(text.includes(`- \`${name}\`: `), name);
  }
  assert.ok(text.includes('| `spec.rollout.canary.pause` |'));
  assert.ok(text.includes('| `spec.rules[].podSelector` |'));
});

test('printer columns point into the schema', () => {
  for (const kind of KINDS) {
    const version = customResourceDefinition(kind).spec.versions[0];
    for (const { jsonPath } of version.additionalPrinterColumns) {
      const names = jsonPath
        .replace(/\[[^\]]*\]/g, '[]')
        .split('.')
        .slice(1);
      let schema = version.schema.openAPIV3Schema as StructuralSchema;
      if (names[0] === 'metadata') continue;
      for (const name of names) {
        schema = schema.properties?.[name.replace('[]', '')] as StructuralSchema;
        assert.ok(schema, `${kind.names.kind}: ${jsonPath}`);
        if (name.endsWith('[]')) schema = schema.items!;
      }
    }
  }
});
