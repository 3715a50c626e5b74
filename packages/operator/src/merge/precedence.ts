// SPDX-License-Identifier: Apache-2.0
/** Which of several policies decides. */
import type { Labels, ProfilingPolicySpec } from '@plumbline/api';

/** One revision of a policy, as it takes part in the merge. */
export interface EffectivePolicy {
  name: string;
  uid: string;
  /** RFC 3339, as the API server writes it. */
  creationTimestamp: string;
  /** Hash of `spec`. */
  revision: string;
  spec: ProfilingPolicySpec;
  /** Whether `spec.nodeSelector` selects a node with these labels. */
  selectsNode: (labels: Labels) => boolean;
}

/** Orders policies: higher priority first, then the older one, then by name. A total order, so the merge has one result. */
export function byPrecedence(a: EffectivePolicy, b: EffectivePolicy): number {
  return (
    b.spec.priority - a.spec.priority ||
    compare(a.creationTimestamp, b.creationTimestamp) ||
    compare(a.name, b.name) ||
    compare(a.uid, b.uid)
  );
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
