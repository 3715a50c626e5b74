// SPDX-License-Identifier: Apache-2.0
/** The schema of a configuration file as data: for hints in errors, for the help text and for `docs/configuration.md`. */
import { NodeProfilingConfigSpec, WHOLE_NODE_RULE } from '@plumbline/api';
import { type StructuralSchema, structuralSchema } from '@plumbline/api/crd';
import { AgentSettings } from './agent-settings.ts';

/** Of `spec`. In a file, rules may be left out: then one rule selects the whole node. */
export function specSchema(): StructuralSchema {
  const schema = structuralSchema(NodeProfilingConfigSpec);
  const rules = { ...schema.properties?.rules, default: [WHOLE_NODE_RULE] };
  return {
    ...schema,
    required: schema.required?.filter((name) => name !== 'rules'),
    properties: { ...schema.properties, rules },
  };
}

/** Of `agent`. */
export function agentSchema(): StructuralSchema {
  return structuralSchema(AgentSettings);
}

/** Names of the fields that may stand at a path such as `['spec', 'rules', 0]` or `['agent']`; empty where none are fixed. */
export function keysAt(path: readonly (string | number)[]): string[] {
  let schema: StructuralSchema | undefined = {
    type: 'object',
    properties: { spec: specSchema(), agent: agentSchema() },
  };
  for (const part of path) schema = typeof part === 'number' ? schema?.items : schema?.properties?.[part];
  return Object.keys(schema?.properties ?? {});
}
