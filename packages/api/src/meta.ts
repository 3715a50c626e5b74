// SPDX-License-Identifier: Apache-2.0
/** Names that the cluster sees: API group, kinds, field managers, labels. */

export const GROUP = 'profiling.plumbline.dev';
export const VERSION = 'v1alpha1';
export const API_VERSION = `${GROUP}/${VERSION}`;

/** How a kind is addressed: `/apis/<group>/<version>/<plural>`. */
export interface ResourceNames {
  group: string;
  version: string;
  kind: string;
  plural: string;
  singular: string;
  shortNames: readonly string[];
}

export const PROFILING_POLICY: ResourceNames = {
  group: GROUP,
  version: VERSION,
  kind: 'ProfilingPolicy',
  plural: 'profilingpolicies',
  singular: 'profilingpolicy',
  shortNames: ['profpol'],
};

export const NODE_PROFILING_CONFIG: ResourceNames = {
  group: GROUP,
  version: VERSION,
  kind: 'NodeProfilingConfig',
  plural: 'nodeprofilingconfigs',
  singular: 'nodeprofilingconfig',
  shortNames: ['npc'],
};

/** `kubectl get profiling` lists both kinds. */
export const CATEGORY = 'profiling';

/** Server-side apply field managers: each owns its part of the objects and nothing else. */
export const OPERATOR_FIELD_MANAGER = 'plumbline-operator';
export const AGENT_FIELD_MANAGER = 'plumbline-agent';

/** Marks objects that the operator wrote, as recommended by the Kubernetes label conventions. */
export const MANAGED_BY_LABEL = 'app.kubernetes.io/managed-by';
