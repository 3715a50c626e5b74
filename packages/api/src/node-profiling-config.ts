// SPDX-License-Identifier: Apache-2.0
/**
 * NodeProfilingConfig: the effective configuration of one node, and what its agent says about it.
 *
 * The operator alone writes `spec`, the node's agent alone writes `status`. The same spec, read from a file, runs an
 * agent without a cluster; there every field has a default, and a file with one export profiles the whole node.
 */
import { z } from 'zod';
import { Conditions } from './condition.ts';
import { Duration } from './duration.ts';
import { KernelLimit, MAX_KERNEL_LIMITS } from './kernel-limit.ts';
import { listOf, mapOf, setOf, withRules } from './schema.ts';
import { LabelSelector } from './selector.ts';
import {
  Budget,
  Event,
  FrequencyHz,
  MaxFrames,
  Objective,
  OtlpExport,
  Ratio,
  RUNTIMES,
  Runtime,
  Spill,
  Strategy,
} from './settings.ts';
import { Timestamp } from './timestamp.ts';

/** Rules on one node: the agent has as many policy slots in the kernel. */
export const MAX_RULES = 32;
/** Names that one rule may carry; more would put tens of kilobytes into every node's object. */
export const MAX_NAMESPACES = 256;
export const MAX_EXPORTS = 8;

const ObjectName = z.string().min(1).max(253);
const ExportName = z.string().min(1).max(63);

export const PolicyReference = z
  .object({
    name: ObjectName.describe('metadata.name of the policy.'),
    uid: z.string().max(64).default('').describe('metadata.uid of the policy; empty in a file.'),
    revision: z.string().max(64).default('').describe('Hash of the policy spec that this rule was made from.'),
  })
  .describe('The policy that a rule was made from.');

/** Which processes, and how well. The first rule that matches a process decides. */
export const NodeRule = z
  .object({
    policy: PolicyReference,
    allNamespaces: z.boolean().default(false).describe('Pods of every namespace, also of those created later.'),
    namespaces: setOf(z.string().min(1).max(63), MAX_NAMESPACES)
      .default([])
      .describe('Namespaces whose pods are selected, sorted. Empty without allNamespaces: no pods.'),
    podSelector: LabelSelector.prefault({}).describe('Labels of the pods, within the namespaces. Empty: every pod.'),
    containers: setOf(z.string().min(1).max(63), 32).default([]).describe('Container names. Empty: all containers.'),
    hostProcesses: z.boolean().default(false).describe('Processes that belong to no pod.'),
    frequencyHz: FrequencyHz.optional().describe('Samples per second and CPU for this rule. Absent: the node’s.'),
    unwinding: z
      .object({
        maxFrames: MaxFrames.optional().describe('Absent: the node’s.'),
        runtimes: setOf(Runtime, RUNTIMES.length).optional().describe('Absent: all that the agent knows.'),
        spill: Spill.optional().describe('Absent: the node’s.'),
      })
      .prefault({})
      .describe('Limits of the walk for this rule.'),
    objective: Objective.prefault({}).describe('The promise that the truncated ratio is compared with.'),
    exports: setOf(ExportName, MAX_EXPORTS)
      .optional()
      .describe('Names in spec.exports that receive the samples. Absent: all. Empty: none.'),
  })
  .describe('One policy as it applies to this node.');

export const NodeExport = withRules(
  z.object({
    name: ExportName.default('default').describe('Unique within the object; rules refer to it.'),
    otlp: OtlpExport.optional().describe('Ship OTLP profiles.'),
    pprof: z
      .object({
        directory: z
          .string()
          .min(1)
          .max(1024)
          .regex(/^\//, { error: 'must be an absolute path' })
          .describe('Folder on the node.'),
        maxFiles: z.int().min(1).max(100_000).default(60).describe('Older files are removed.'),
      })
      .optional()
      .describe('Write gzipped pprof files. Only for agents that run from a file.'),
    markTruncated: z
      .boolean()
      .default(true)
      .describe(
        'Give truncated stacks the root frame `[truncated: <reason>]`, so that no flame graph shows them as whole.',
      ),
    foldRecursion: z
      .boolean()
      .optional()
      .describe(
        'Send frames that repeat in a row once, followed by a frame `[repeated N times: M frames]`. Absent: no.',
      ),
  }),
  [
    {
      cel: 'has(self.otlp) != has(self.pprof)',
      check: ({ otlp, pprof }) => (otlp === undefined) !== (pprof === undefined),
      message: 'an export is exactly one of otlp and pprof',
    },
  ],
).describe('A destination of profiles.');

const shape = {
  configHash: z
    .string()
    .max(64)
    .regex(/^[0-9a-f]*$/)
    .default('')
    .describe('Canonical hash of the rest of the spec; the agent reports it back as status.appliedHash.'),
  policySummary: z
    .string()
    .max(253)
    .default('')
    .describe('Names of the policies in order, for people: `payments,default,+3`.'),
  sampling: z
    .object({
      event: Event.default('CPU').describe('What fires a sample on this node.'),
      frequencyHz: FrequencyHz.default(19).describe('Highest frequency of any rule; rules with a lower one thin out.'),
    })
    .prefault({})
    .describe('The sampler of the node.'),
  unwinding: z
    .object({
      strategy: Strategy.default('Auto').describe('How the kernel walks stacks.'),
      maxFrames: MaxFrames.default(1024).describe('Highest maxFrames of any rule.'),
      spill: Spill.default('Auto').describe('Never, if no rule wants it.'),
      verifyRatio: Ratio.default('0').describe('Share of complete walks compared with an independent unwinder.'),
    })
    .prefault({})
    .describe('The unwinders of the node.'),
  budget: Budget.prefault({}).describe('What profiling may cost on this node.'),
  reportInterval: Duration.default('10s').describe('Profiles are encoded and exported once per interval.'),
  resourceAttributes: z
    .record(z.string(), z.string().max(256))
    .meta({ maxProperties: 16 })
    .default({})
    .describe('Added to the OpenTelemetry resource of everything exported, such as k8s.cluster.name.'),
  exports: mapOf(NodeExport, MAX_EXPORTS, ['name']).default([]).describe('Destinations that rules refer to.'),
};

const exportRule = {
  cel: 'self.rules.all(r, !has(r.exports) || r.exports.all(n, has(self.exports) && self.exports.exists(e, e.name == n)))',
  check: (spec: { rules: { exports?: string[] }[]; exports: { name: string }[] }) =>
    spec.rules.every((rule) => (rule.exports ?? []).every((name) => spec.exports.some((e) => e.name === name))),
  message: 'every export that a rule names must be in spec.exports',
};
const uniqueExportsRule = {
  check: (spec: { exports: { name: string }[] }) =>
    new Set(spec.exports.map((e) => e.name)).size === spec.exports.length,
  message: 'exports need different names',
};

/** Spec of the object in the cluster: rules are always written, none means that nothing is profiled. */
export const NodeProfilingConfigSpec = withRules(
  z.object({ ...shape, rules: listOf(NodeRule, MAX_RULES).describe('In order; the first that matches decides.') }),
  [exportRule],
).describe('The merged, effective configuration of the node. Written by the operator.');

/** What a file without rules means: every process of the node, to every export. */
export const WHOLE_NODE_RULE = { policy: { name: 'node' }, allNamespaces: true, hostProcesses: true };

/**
 * The spec as the agent reads it, from the cluster or from a file: every field has a default, every rule has its own
 * frequency and limits, and the node's are the highest of them.
 */
export const NodeProfilingSpec = z
  .object({ ...shape, rules: z.array(NodeRule).max(MAX_RULES).prefault([WHOLE_NODE_RULE]) })
  .refine(exportRule.check, { message: exportRule.message })
  .refine(uniqueExportsRule.check, { message: uniqueExportsRule.message })
  .transform((spec) => {
    const rules = spec.rules.map((rule) => ({
      ...rule,
      frequencyHz: rule.frequencyHz ?? spec.sampling.frequencyHz,
      unwinding: {
        ...rule.unwinding,
        maxFrames: rule.unwinding.maxFrames ?? spec.unwinding.maxFrames,
        spill: rule.unwinding.spill ?? spec.unwinding.spill,
      },
    }));
    return {
      ...spec,
      sampling: {
        ...spec.sampling,
        frequencyHz: Math.max(spec.sampling.frequencyHz, ...rules.map((r) => r.frequencyHz)),
      },
      unwinding: {
        ...spec.unwinding,
        maxFrames: Math.max(spec.unwinding.maxFrames, ...rules.map((r) => r.unwinding.maxFrames)),
      },
      rules,
    };
  });

const TruncationBucket = z
  .enum(['Unknown', 'Ok', 'Degraded'])
  .describe('With hysteresis, so that a node at its objective does not flap. Unknown: too few samples.');

const Count = z.int().min(0);

export const NodePolicyStatus = z
  .object({
    name: ObjectName.describe('Policy that the figures belong to.'),
    uid: z.string().max(64).optional().describe('Its uid.'),
    revision: z.string().max(64).optional().describe('Revision in force, also while a newer one is refused.'),
    bucket: TruncationBucket,
    ratio: Ratio.optional().describe('Truncated ratio over the objective’s window, rounded to 0.001.'),
    baselineRatio: Ratio.optional().describe('The usual ratio over the last days.'),
    depth: Count.optional().describe('User frames of a sample in the window, on average.'),
    baselineDepth: Count.optional().describe('The same over the last days.'),
    samples: Count.optional().describe('User samples in the window.'),
    truncated: Count.optional().describe('Truncated samples in the window.'),
    pods: Count.optional().describe('Pods on the node that this policy decides.'),
    worstWorkload: z.string().max(317).optional().describe('namespace/name with the most truncated samples.'),
    topReason: z.string().max(64).optional().describe('The most frequent reason.'),
    topFile: z
      .string()
      .max(512)
      .optional()
      .describe('Where most truncated walks of that reason stopped: path of the file, build id.'),
    overridden: mapOf(
      z.object({ by: ObjectName.describe('The policy that wins.'), pods: Count.describe('Pods it takes.') }),
      4,
      ['by'],
    )
      .optional()
      .describe('Policies of higher precedence that take pods which this one selects.'),
  })
  .describe('Completeness of one policy’s stacks on this node.');

export const NodeProfilingConfigStatus = z
  .object({
    observedGeneration: Count.optional().describe('metadata.generation that the agent last looked at.'),
    observedHash: z.string().max(64).optional().describe('spec.configHash that the agent last tried.'),
    appliedHash: z
      .string()
      .max(64)
      .optional()
      .describe('spec.configHash in force. Differs from observedHash when refused.'),
    agentVersion: z.string().max(64).optional().describe('Version of the agent.'),
    kernel: z.string().max(128).optional().describe('Kernel release, as uname -r.'),
    strategy: z.enum(['TailCall', 'Loop', 'Deferred']).optional().describe('Unwind strategy in use.'),
    lastHeartbeat: Timestamp.optional().describe('When the agent last wrote, changed or not.'),
    truncation: z
      .object({
        bucket: TruncationBucket,
        ratio: Ratio.optional().describe('Over all rules of the node.'),
        baselineRatio: Ratio.optional().describe('The usual ratio over the last days.'),
        topReason: z.string().max(64).optional().describe('The most frequent reason.'),
      })
      .optional()
      .describe('Completeness of all stacks on this node.'),
    policies: listOf(NodePolicyStatus, MAX_RULES).optional().describe('The same by policy.'),
    kernelLimits: mapOf(KernelLimit, MAX_KERNEL_LIMITS, ['feature'])
      .optional()
      .describe('What a newer kernel would give.'),
    conditions: Conditions.optional().describe('Ready, Degraded.'),
  })
  .describe('What the agent of the node reports. Written on transitions and by a slow heartbeat.');

/** The spec as the operator writes it. */
export type NodeProfilingConfigSpec = z.infer<typeof NodeProfilingConfigSpec>;
export type NodeExport = z.infer<typeof NodeExport>;
/** The spec as the agent uses it. */
export type NodeProfilingSpec = z.output<typeof NodeProfilingSpec>;
/** A rule as the agent uses it. */
export type NodeRule = NodeProfilingSpec['rules'][number];
export type NodePolicyStatus = z.infer<typeof NodePolicyStatus>;
export type NodeProfilingConfigStatus = z.infer<typeof NodeProfilingConfigStatus>;

/** The object as it travels: only the metadata that this code reads. */
export interface NodeProfilingConfig {
  apiVersion: string;
  kind: 'NodeProfilingConfig';
  metadata: { name: string; uid?: string; generation?: number; resourceVersion?: string };
  spec: NodeProfilingConfigSpec;
  status?: NodeProfilingConfigStatus;
}
