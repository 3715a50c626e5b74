// SPDX-License-Identifier: Apache-2.0
/** ProfilingPolicy: what to profile and how well. People write `spec`, the operator writes `status`. */
import { z } from 'zod';
import { Conditions } from './condition.ts';
import { Duration } from './duration.ts';
import { KernelLimit, MAX_KERNEL_LIMITS } from './kernel-limit.ts';
import { intOrString, listOf, mapOf, setOf, withRules } from './schema.ts';
import { isEmptySelector, LabelSelector } from './selector.ts';
import { Budget, Objective, OtlpExport, Ratio, Sampling, Unwinding } from './settings.ts';
import { Timestamp } from './timestamp.ts';

const Target = withRules(
  z.object({
    allPods: z.boolean().default(false).describe('Every pod of every namespace. Must be said, never implied.'),
    namespaceSelector: LabelSelector.optional().describe('Labels of the namespaces. Absent: every namespace.'),
    podSelector: LabelSelector.optional().describe('Labels of the pods. Absent: every pod in the namespaces.'),
    containers: setOf(z.string().min(1).max(63), 32).default([]).describe('Container names. Empty: all containers.'),
    hostProcesses: z.boolean().default(false).describe('Processes that belong to no pod.'),
  }),
  [
    {
      cel:
        'self.allPods || self.hostProcesses || ' +
        ['namespaceSelector', 'podSelector']
          .map(
            (s) =>
              `(has(self.${s}) && ((has(self.${s}.matchLabels) && size(self.${s}.matchLabels) > 0) || (has(self.${s}.matchExpressions) && size(self.${s}.matchExpressions) > 0)))`,
          )
          .join(' || '),
      check: (target) =>
        target.allPods ||
        target.hostProcesses ||
        !isEmptySelector(target.namespaceSelector) ||
        !isEmptySelector(target.podSelector),
      message: 'selects nothing: set a namespaceSelector or podSelector, or say allPods: true or hostProcesses: true',
    },
    {
      cel: '!self.allPods || (!has(self.namespaceSelector) && !has(self.podSelector))',
      check: ({ allPods, namespaceSelector, podSelector }) =>
        !allPods || (namespaceSelector === undefined && podSelector === undefined),
      message: 'allPods: true takes no namespaceSelector and no podSelector',
    },
  ],
).describe('Which processes are profiled.');

const NodesOrPercent = intOrString(
  /^([0-9]+|(100|[1-9]?[0-9])%)$/,
  'must be a number of nodes or a percentage such as "10%"',
);

const Rollout = z.object({
  maxUnavailable: NodesOrPercent.default('10%').describe(
    'Nodes that may have been given the revision without having applied it yet. Percentages round up.',
  ),
  maxFailed: NodesOrPercent.default('5%').describe(
    'Nodes that may fail before onFailure applies. Percentages round down, so on few nodes the first failure counts.',
  ),
  canary: z
    .object({
      percent: z.int().min(1).max(100).default(5).describe('Share of the nodes that get the revision first.'),
      pause: Duration.default('300s').describe('How long they must be healthy before the rest follows.'),
    })
    .optional()
    .describe('Try each revision on a few nodes first. They stay the same from revision to revision.'),
  progressDeadline: Duration.default('10m').describe('A node that has not applied the revision by then has failed.'),
  onFailure: z
    .enum(['Rollback', 'Pause'])
    .default('Rollback')
    .describe(
      'Rollback returns every node to the last revision that was rolled out fully; Pause leaves them as they are.',
    ),
});

export const ProfilingPolicySpec = z
  .object({
    priority: z
      .int()
      .min(-1_000_000)
      .max(1_000_000)
      .default(0)
      .describe('Where policies overlap, the higher priority wins, then the older policy, then the name.'),
    paused: z.boolean().default(false).describe('Freeze: nodes keep what they have.'),
    nodeSelector: LabelSelector.optional().describe('Labels of the nodes. Absent: every Linux node.'),
    target: Target,
    sampling: Sampling.prefault({}).describe('What fires a sample, and how often.'),
    unwinding: Unwinding.prefault({}).describe('How stacks are walked.'),
    objective: Objective.prefault({}).describe('The promise about completeness, see the ObjectiveMet condition.'),
    budget: Budget.prefault({}).describe(
      'What profiling may cost. On a node, the lowest budget of its policies counts.',
    ),
    export: z
      .object({
        otlp: OtlpExport.optional().describe('An OpenTelemetry collector or backend.'),
        foldRecursion: z
          .boolean()
          .optional()
          .describe(
            'Send frames that repeat in a row once, followed by a frame `[repeated N times: M frames]`. Absent: no.',
          ),
      })
      .prefault({})
      .describe('Where profiles go. Empty: where the operator’s default says.'),
    rollout: Rollout.prefault({}).describe('How a new revision reaches the nodes.'),
  })
  .describe('What to profile and how well.');

const Count = z.int().min(0);

const RolloutStatus = z.object({
  revision: z.string().max(64).describe('Hash of the spec that is being rolled out.'),
  phase: z
    .enum(['Canary', 'CanaryPause', 'Rolling', 'Complete', 'Failed', 'RolledBack'])
    .describe('Where the rollout stands.'),
  startedAt: Timestamp.describe('When the revision was first seen.'),
  canaryHealthySince: Timestamp.optional().describe('When the last canary became healthy.'),
  completedAt: Timestamp.optional().describe('When the last node was updated.'),
  message: z.string().max(1024).optional().describe('Why it stopped.'),
});

export const ProfilingPolicyStatus = z
  .object({
    observedGeneration: Count.optional().describe('metadata.generation that the operator last worked on.'),
    nodes: z
      .object({
        targeted: Count.describe('Nodes that match.'),
        updated: Count.describe('Nodes that were given the current revision.'),
        applied: Count.describe('Nodes whose agent runs the current revision.'),
        failed: Count.describe('Nodes that refused it or got worse with it.'),
        notReporting: Count.describe('Nodes without a reporting agent.'),
      })
      .optional()
      .describe('Nodes by state.'),
    rollout: RolloutStatus.optional().describe('The rollout of the current revision.'),
    lastGood: z
      .object({
        revision: z.string().max(64).describe('Hash of the spec.'),
        spec: z.looseObject({}).describe('The spec, for a rollback.'),
      })
      .optional()
      .describe('The last revision that was rolled out fully.'),
    truncation: z
      .object({
        ratio: Ratio.optional().describe('Truncated ratio over all nodes.'),
        baselineRatio: Ratio.optional().describe('The usual ratio over the last days.'),
        depth: Count.optional().describe('User frames of a sample, on average.'),
        baselineDepth: Count.optional().describe('The same over the last days.'),
        samples: Count.optional().describe('User samples that the ratio is taken over.'),
        worstWorkload: z.string().max(317).optional().describe('namespace/name with the most truncated samples.'),
        topReason: z.string().max(64).optional().describe('The most frequent reason.'),
        topFile: z
          .string()
          .max(512)
          .optional()
          .describe('Where most truncated walks of that reason stopped: path of the file, build id.'),
        degradedNodes: Count.optional().describe('Nodes above the objective.'),
        worstNode: z.string().max(253).optional().describe('The node with the highest ratio.'),
      })
      .optional()
      .describe('How complete the stacks are.'),
    strategies: mapOf(
      z.object({ name: z.string().max(32).describe('Strategy in use.'), nodes: Count.describe('Nodes.') }),
      8,
      ['name'],
    )
      .optional()
      .describe('Targeted nodes by unwind strategy.'),
    kernels: mapOf(
      z.object({ name: z.string().max(32).describe('Kernel series, such as 6.1.'), nodes: Count.describe('Nodes.') }),
      16,
      ['name'],
    )
      .optional()
      .describe('Targeted nodes by kernel series, most frequent first.'),
    kernelLimits: mapOf(
      KernelLimit.extend({ nodes: Count.describe('Nodes whose kernel lacks it.') }),
      MAX_KERNEL_LIMITS,
      ['feature'],
    )
      .optional()
      .describe('What newer kernels on the targeted nodes would lift, most nodes first.'),
    failingNodes: listOf(
      z.object({
        name: z.string().max(253).describe('The node.'),
        reason: z.string().max(256).describe('Reason that its agent gave.'),
        message: z.string().max(256).describe('What its agent said.'),
      }),
      10,
    )
      .optional()
      .describe('The first ten, by name.'),
    conditions: Conditions.optional().describe(
      'Ready, Accepted, Progressing, Degraded, Conflicted, Clamped, ObjectiveMet.',
    ),
  })
  .describe('What the operator found. Written at most once in five seconds.');

export type ProfilingPolicySpec = z.output<typeof ProfilingPolicySpec>;
export type ProfilingPolicyStatus = z.infer<typeof ProfilingPolicyStatus>;
export type RolloutStatus = z.infer<typeof RolloutStatus>;

/** The object as it travels: only the metadata that this code reads. */
export interface ProfilingPolicy {
  apiVersion: string;
  kind: 'ProfilingPolicy';
  metadata: {
    name: string;
    uid: string;
    generation: number;
    creationTimestamp: string;
    resourceVersion?: string;
  };
  spec: z.input<typeof ProfilingPolicySpec>;
  status?: ProfilingPolicyStatus;
}
