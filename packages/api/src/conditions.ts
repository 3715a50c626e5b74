// SPDX-License-Identifier: Apache-2.0
/** Every condition type and reason that Plumbline writes, with the sentence that the API reference prints. */

/** What the operator says of a ProfilingPolicy. */
export const POLICY_CONDITIONS = {
  Ready: 'True when every targeted node that has an agent runs the current revision and none of them failed.',
  Accepted: 'True when the policy is valid and takes part in the merge.',
  Progressing: 'True while a revision is being rolled out.',
  Degraded: 'True when some node refused the policy, got worse with it, or stopped reporting after it.',
  Conflicted: 'True when a policy of higher precedence decides pods or node settings that this one asks for.',
  Clamped: 'True when a limit of the cluster lowers what the policy asks for.',
  ObjectiveMet: 'True when the truncated ratio over the objective’s window is within the objective, with hysteresis.',
} as const;

/** What the agent says of its NodeProfilingConfig. */
export const NODE_CONDITIONS = {
  Ready: 'True when the agent profiles with the configuration in spec.',
  Degraded: 'True when the agent profiles, but less well than asked.',
} as const;

/** Reasons of the conditions above; the same words are the reasons of Events. */
export const REASONS = {
  // Ready
  AllNodesApplied: 'Every targeted node with an agent runs the current revision.',
  NodesPending: 'Some nodes have not reported the current revision yet.',
  NodesFailed: 'Some nodes refused the current revision or got worse with it; see status.failingNodes.',
  NoMatchingNodes: 'No Linux node matches spec.nodeSelector.',
  NoMatchingNamespaces: 'No namespace matches spec.target.namespaceSelector.',
  NotAccepted: 'The policy does not take part in the merge; see the Accepted condition.',
  // Accepted
  Valid: 'The policy is valid.',
  InvalidSpec: 'The spec does not fit the schema of this operator, for example after a downgrade.',
  TooManyNamespaces: 'The namespace selector matches more names than a node’s object may carry.',
  // Progressing
  RolloutComplete: 'Every targeted node has the current revision.',
  RolloutInProgress: 'Nodes are being updated in batches.',
  CanaryInProgress: 'The canary nodes are being updated.',
  CanaryPaused: 'The canary nodes run the revision; the rest follows after the pause.',
  Paused: 'spec.paused freezes the nodes as they are.',
  RolloutFailed: 'Too many nodes failed; the rollout stopped and waits for a new revision of the policy.',
  RolledBack: 'Too many nodes failed; all nodes went back to the last good revision.',
  // Degraded
  AsExpected: 'Nothing to report.',
  AgentNotReporting: 'The agent stopped reporting after it was given a revision.',
  ProgressDeadlineExceeded: 'A node did not apply the revision within spec.rollout.progressDeadline.',
  // Conflicted
  NoConflict: 'No policy of higher precedence overlaps.',
  OverriddenByHigherPriority:
    'A policy with a higher priority, or an older one of the same priority, decides some of the same pods.',
  NodeSettingOverridden: 'A policy of higher precedence sets the event or the strategy of the node.',
  RuleLimit: 'A node matches more policies than it has slots; those of lowest precedence are left out.',
  // Clamped
  WithinLimits: 'No limit of the cluster applies.',
  FrequencyLimit: 'The cluster’s highest frequency is lower than asked for.',
  BudgetLimit: 'The cluster’s CPU budget is lower than asked for.',
  // ObjectiveMet
  WithinObjective: 'The truncated ratio is within the objective.',
  TruncationHigh: 'The truncated ratio is above the objective.',
  NotEnoughSamples: 'Too few user samples in the window to judge.',
  // Node
  Applied: 'The configuration is in force.',
  Starting: 'The agent is loading its programs.',
  InvalidConfig: 'The agent refused the configuration and keeps the one before.',
  VerifierRejected: 'The kernel refused to load the programs.',
  KernelUnsupported: 'The kernel lacks something that the configuration needs.',
  PermissionDenied: 'The agent lacks a capability that the configuration needs.',
  OverBudget: 'Profiling costs more than its budget.',
  SamplesLost: 'Samples are dropped before they are read.',
  ExportFailing: 'Profiles cannot be delivered.',
  // Events that belong to no condition
  DriftCorrected: 'Somebody else changed the spec of a NodeProfilingConfig; the operator wrote it again.',
} as const;

export type PolicyConditionType = keyof typeof POLICY_CONDITIONS;
export type Reason = keyof typeof REASONS;
