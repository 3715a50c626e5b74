// SPDX-License-Identifier: Apache-2.0
/** Which rule of the configuration a process falls under: the first that matches. Pure. */
import { compileSelector, isEmptySelector, type NodeRule } from '@plumbline/api';
import type { Workload } from './workload.ts';

/** The kernel's number of no policy. */
export const NOT_SELECTED = 0;

export class Selection {
  readonly #rules: readonly ((workload: Workload) => boolean)[];
  /**
   * The policy of a process of which nothing is known yet: that of the first rule, where it takes every process; else none,
   * so that what is not selected costs next to nothing.
   */
  readonly defaultPolicy: number;

  constructor(rules: readonly NodeRule[]) {
    this.#rules = rules.map(matcher);
    const first = rules[0];
    this.defaultPolicy = first?.hostProcesses && takesEveryContainer(first) ? 1 : NOT_SELECTED;
  }

  /** Index of the rule plus one, or NOT_SELECTED. */
  policyOf(workload: Workload): number {
    return this.#rules.findIndex((matches) => matches(workload)) + 1;
  }

  /** Indices of all rules that match, the deciding one first. */
  matching(workload: Workload): number[] {
    return this.#rules.flatMap((matches, index) => (matches(workload) ? [index] : []));
  }
}

function takesEveryContainer({ allNamespaces, podSelector, containers }: NodeRule): boolean {
  return allNamespaces && isEmptySelector(podSelector) && containers.length === 0;
}

function matcher(rule: NodeRule): (workload: Workload) => boolean {
  const labelsMatch = compileSelector(rule.podSelector);
  const namespaces = new Set(rule.namespaces);
  const containers = new Set(rule.containers);
  const everyContainer = takesEveryContainer(rule);
  return ({ containerId, pod, containerName }) => {
    if (containerId === undefined) return rule.hostProcesses;
    // A container of no known pod: of a plain runtime, or of a pod whose status is on its way.
    if (!pod) return everyContainer;
    if (!rule.allNamespaces && !namespaces.has(pod.namespace)) return false;
    if (containers.size > 0 && !(containerName !== undefined && containers.has(containerName))) return false;
    return labelsMatch(pod.labels);
  };
}
