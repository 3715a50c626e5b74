// SPDX-License-Identifier: Apache-2.0
/**
 * zod → structural OpenAPI schema → CustomResourceDefinition.
 *
 * A structural schema (apiextensions/v1) has a type everywhere, no `$ref`, no `additionalProperties: false`, and no
 * structure inside `oneOf` and friends. zod's `openapi-3.0` target is near enough; the rest is done or refused here.
 */
import { z } from 'zod';
import { CATEGORY, NODE_PROFILING_CONFIG, PROFILING_POLICY, type ResourceNames } from './meta.ts';
import { NodeProfilingConfigSpec, NodeProfilingConfigStatus } from './node-profiling-config.ts';
import { ProfilingPolicySpec, ProfilingPolicyStatus } from './profiling-policy.ts';

/** The part of apiextensions/v1 JSONSchemaProps that is used here. */
export interface StructuralSchema {
  type?: 'object' | 'array' | 'string' | 'integer' | 'number' | 'boolean';
  description?: string;
  default?: unknown;
  format?: string;
  enum?: string[];
  pattern?: string;
  minLength?: number;
  maxLength?: number;
  minimum?: number;
  maximum?: number;
  minItems?: number;
  maxItems?: number;
  maxProperties?: number;
  properties?: Record<string, StructuralSchema>;
  required?: string[];
  items?: StructuralSchema;
  additionalProperties?: StructuralSchema;
  [extension: `x-kubernetes-${string}`]: unknown;
}

const KNOWN_KEYS = new Set([
  ...['type', 'description', 'default', 'format', 'enum', 'pattern', 'minLength', 'maxLength', 'minimum', 'maximum'],
  ...['minItems', 'maxItems', 'maxProperties', 'properties', 'required', 'items', 'additionalProperties'],
]);

/** The structural schema of a zod schema. Throws where it has no structural form, naming the path. */
export function structuralSchema(schema: z.ZodType): StructuralSchema {
  const json = z.toJSONSchema(schema, {
    target: 'openapi-3.0',
    io: 'input',
    reused: 'inline',
    unrepresentable: 'throw',
  });
  return convert(json as Record<string, unknown>, '$');
}

function convert(json: Record<string, unknown>, path: string): StructuralSchema {
  const schema = structuredClone(json) as StructuralSchema & Record<string, unknown>;
  if (schema['x-kubernetes-int-or-string'] === true) {
    delete schema.anyOf;
    delete schema.type;
  }
  if (schema.type === 'object' && isOpen(schema.additionalProperties)) {
    schema['x-kubernetes-preserve-unknown-fields'] = true;
    delete schema.additionalProperties;
    delete schema.properties;
  }
  if (schema.format === 'date-time') delete schema.pattern;
  if (schema.type === 'integer') boundInteger(schema);
  for (const [name, property] of Object.entries(schema.properties ?? {})) {
    schema.properties![name] = convert(property as Record<string, unknown>, `${path}.${name}`);
  }
  if (schema.items) schema.items = convert(schema.items as Record<string, unknown>, `${path}[]`);
  if (schema.additionalProperties) {
    schema.additionalProperties = convert(schema.additionalProperties as Record<string, unknown>, `${path}{}`);
  }
  assertStructural(schema, path);
  return schema;
}

/** `{}` or `true`: any value, as zod writes for loose objects. */
function isOpen(additional: unknown): boolean {
  return (
    additional === true ||
    (typeof additional === 'object' && additional !== null && Object.keys(additional).length === 0)
  );
}

/** zod bounds integers by what a double holds exactly; Kubernetes says the same with a format. */
function boundInteger(schema: StructuralSchema): void {
  if (schema.minimum === Number.MIN_SAFE_INTEGER) delete schema.minimum;
  if (schema.maximum === Number.MAX_SAFE_INTEGER) delete schema.maximum;
  schema.format = (schema.maximum ?? Infinity) <= 2 ** 31 - 1 ? 'int32' : 'int64';
}

/** What the API server would report as NonStructuralSchema, and limits without which CEL rules cost too much. */
function assertStructural(schema: StructuralSchema, path: string): void {
  const fail = (what: string): never => {
    throw new Error(`${path}: ${what}`);
  };
  for (const key of Object.keys(schema)) {
    if (!KNOWN_KEYS.has(key) && !key.startsWith('x-kubernetes-')) fail(`${key} has no structural form`);
  }
  if (schema.type === undefined && schema['x-kubernetes-int-or-string'] !== true) fail('no type');
  if (/\(\?[=!<]/.test(schema.pattern ?? '')) fail('look-around is not in RE2');
  if (schema.type === 'string' && !schema.enum && !schema.format && schema.maxLength === undefined)
    fail('no maxLength');
  if (schema.type === 'array' && schema.maxItems === undefined) fail('no maxItems');
  if (schema.type === 'array' && schema['x-kubernetes-list-type'] === undefined) fail('no list type');
  if ((schema.additionalProperties as unknown) === false) fail('additionalProperties: false is not structural');
  if (schema.additionalProperties && schema.maxProperties === undefined) fail('no maxProperties');
}

export interface PrinterColumn {
  name: string;
  type: 'string' | 'integer' | 'date';
  jsonPath: string;
  description: string;
  /** 0 is shown always, 1 with `-o wide`. */
  priority?: number;
}

export interface KindDefinition {
  names: ResourceNames;
  description: string;
  spec: z.ZodType;
  status: z.ZodType;
  columns: readonly PrinterColumn[];
}

const condition = (type: string, field = 'status') => `.status.conditions[?(@.type=='${type}')].${field}`;
const age: PrinterColumn = { name: 'Age', type: 'date', jsonPath: '.metadata.creationTimestamp', description: 'Age.' };

export const KINDS: readonly KindDefinition[] = [
  {
    names: PROFILING_POLICY,
    description:
      'ProfilingPolicy says which processes of which nodes are profiled, how, and how complete stacks must be.',
    spec: ProfilingPolicySpec,
    status: ProfilingPolicyStatus,
    columns: [
      { name: 'Ready', type: 'string', jsonPath: condition('Ready'), description: 'In force on every node.' },
      { name: 'Targeted', type: 'integer', jsonPath: '.status.nodes.targeted', description: 'Nodes that match.' },
      { name: 'Applied', type: 'integer', jsonPath: '.status.nodes.applied', description: 'Nodes that run it.' },
      { name: 'Failed', type: 'integer', jsonPath: '.status.nodes.failed', description: 'Nodes that refused it.' },
      { name: 'Truncated', type: 'string', jsonPath: '.status.truncation.ratio', description: 'Share of cut stacks.' },
      {
        name: 'Objective',
        type: 'string',
        jsonPath: condition('ObjectiveMet'),
        description: 'Objective met.',
        priority: 1,
      },
      { name: 'Hz', type: 'integer', jsonPath: '.spec.sampling.frequencyHz', description: 'Frequency.', priority: 1 },
      { name: 'Priority', type: 'integer', jsonPath: '.spec.priority', description: 'Precedence.', priority: 1 },
      { name: 'Phase', type: 'string', jsonPath: '.status.rollout.phase', description: 'Rollout.', priority: 1 },
      { name: 'Conflicted', type: 'string', jsonPath: condition('Conflicted'), description: 'Overlap.', priority: 1 },
      { name: 'Message', type: 'string', jsonPath: condition('Ready', 'message'), description: 'Why.', priority: 1 },
      age,
    ],
  },
  {
    names: NODE_PROFILING_CONFIG,
    description:
      'NodeProfilingConfig is the effective configuration of the node of the same name. The operator writes spec, the agent of the node writes status.',
    spec: NodeProfilingConfigSpec,
    status: NodeProfilingConfigStatus,
    columns: [
      { name: 'Ready', type: 'string', jsonPath: condition('Ready'), description: 'Configuration in force.' },
      { name: 'Strategy', type: 'string', jsonPath: '.status.strategy', description: 'Unwind strategy in use.' },
      { name: 'Kernel', type: 'string', jsonPath: '.status.kernel', description: 'Kernel release.' },
      { name: 'Truncated', type: 'string', jsonPath: '.status.truncation.ratio', description: 'Share of cut stacks.' },
      { name: 'Policies', type: 'string', jsonPath: '.spec.policySummary', description: 'Policies in order.' },
      { name: 'Hash', type: 'string', jsonPath: '.spec.configHash', description: 'Wanted.', priority: 1 },
      { name: 'Applied', type: 'string', jsonPath: '.status.appliedHash', description: 'In force.', priority: 1 },
      { name: 'Agent', type: 'string', jsonPath: '.status.agentVersion', description: 'Version.', priority: 1 },
      { name: 'Message', type: 'string', jsonPath: condition('Ready', 'message'), description: 'Why.', priority: 1 },
      age,
    ],
  },
];

/** The CustomResourceDefinition object of one kind. */
export function customResourceDefinition({ names, description, spec, status, columns }: KindDefinition) {
  const { group, version, kind, plural, singular, shortNames } = names;
  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    // Helm leaves the CRDs, and with them everybody's policies, when a release is uninstalled.
    metadata: { name: `${plural}.${group}`, annotations: { 'helm.sh/resource-policy': 'keep' } },
    spec: {
      group,
      scope: 'Cluster',
      names: { kind, listKind: `${kind}List`, plural, singular, shortNames: [...shortNames], categories: [CATEGORY] },
      versions: [
        {
          name: version,
          served: true,
          storage: true,
          subresources: { status: {} },
          additionalPrinterColumns: columns,
          schema: {
            openAPIV3Schema: {
              type: 'object',
              description,
              required: ['spec'],
              properties: {
                apiVersion: { type: 'string', description: 'Version of the schema.' },
                kind: { type: 'string', description: 'Kind of the object.' },
                metadata: { type: 'object' },
                spec: structuralSchema(spec),
                status: structuralSchema(status),
              },
            },
          },
        },
      ],
    },
  };
}
