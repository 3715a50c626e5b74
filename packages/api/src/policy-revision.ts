// SPDX-License-Identifier: Apache-2.0
import { canonicalHash } from './config-hash.ts';
import type { ProfilingPolicySpec } from './profiling-policy.ts';

/** Hash of what a policy asks of nodes. How it is rolled out, and whether that is paused, makes no new revision. */
export function policyRevision(spec: ProfilingPolicySpec): string {
  return canonicalHash({ ...spec, rollout: undefined, paused: undefined });
}
