// SPDX-License-Identifier: Apache-2.0
import { ATTRIBUTE } from './attribute-names.ts';
import type { AttributeValue } from './attribute-table.ts';

/**
 * The workload that a resource of a profile belongs to, named as in metrics and statuses: `namespace/owner` of a pod, else
 * the first twelve digits of the container's id, else the program.
 */
export function workloadNameOf(resource: ReadonlyMap<string, AttributeValue>): string {
  const text = (key: string) => String(resource.get(key) ?? '');
  const namespace = text(ATTRIBUTE.namespaceName);
  if (namespace !== '') return `${namespace}/${text(ATTRIBUTE.serviceName) || text(ATTRIBUTE.podName)}`;
  return text(ATTRIBUTE.containerId).slice(0, 12) || text(ATTRIBUTE.processExecutableName) || 'unknown';
}
