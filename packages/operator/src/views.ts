// SPDX-License-Identifier: Apache-2.0
/**
 * What the operator remembers of the objects it watches: plain, small, and shared where equal, because there are
 * thousands of them.
 */
import { createHash } from 'node:crypto';
import {
  canonicalJson,
  configHash,
  findCondition,
  type KernelLimit,
  type Labels,
  NodeProfilingConfigSpec,
  type NodeProfilingConfigStatus,
  type ProfilingPolicyStatus,
} from '@plumbline/api';
import type { KubeObject } from '@plumbline/kube';
import type { NamespaceView } from './merge/rule.ts';

export interface NodeView {
  name: string;
  uid: string;
  labels: Labels;
  /** As kubelet reports. */
  ready: boolean;
  linux: boolean;
  /** Orders nodes for rollouts: at random, but the same for every policy and revision. */
  order: string;
}

export interface PolicyView {
  name: string;
  uid: string;
  generation: number;
  creationTimestamp: string;
  /** As it is in the cluster; parsed when it is used. */
  spec: unknown;
  status: ProfilingPolicyStatus;
}

/** Truncation of one policy on one node. */
export interface NodePolicyView {
  revision?: string;
  bucket: 'Unknown' | 'Ok' | 'Degraded';
  samples: number;
  truncated: number;
  baselineRatio?: number;
  /** User frames of a sample, on average: in the window, and usually. */
  depth?: number;
  baselineDepth?: number;
  worstWorkload?: string;
  topReason?: string;
  topFile?: string;
  /** Pods that other policies take from this one. */
  overriddenPods: number;
}

/** Why something does not work: a reason in CamelCase, and a sentence. */
export interface Trouble {
  reason: string;
  message: string;
}

export interface NodeConfigView {
  name: string;
  uid: string;
  /** uid of the Node that owns the object. */
  ownerUid: string | undefined;
  /** Hash that the object says it has. */
  configHash: string;
  /** Hash that it really has, for finding drift. */
  actualHash: string;
  /** policy uid → revision. */
  revisions: ReadonlyMap<string, string>;
  status: {
    observedHash: string | undefined;
    appliedHash: string | undefined;
    strategy: string | undefined;
    kernel: string | undefined;
    /** Such as `6.12`. */
    kernelSeries: string | undefined;
    /** Milliseconds since 1970; undefined: there has never been an agent. */
    lastHeartbeat: number | undefined;
    /** Set while the agent says Ready=False. */
    notReady: Trouble | undefined;
    /** Set while the agent says Degraded=True. */
    degraded: Trouble | undefined;
    /** What the node's kernel lacks; shared by nodes of the same kernel. */
    kernelLimits: readonly KernelLimit[];
    /** By the policy's uid. */
    policies: ReadonlyMap<string, NodePolicyView>;
  };
}

interface RawNode extends KubeObject {
  status?: { conditions?: { type: string; status: string }[] };
}

export function nodeView({ metadata, status }: RawNode): NodeView {
  const labels = metadata.labels ?? {};
  return {
    name: metadata.name,
    uid: metadata.uid,
    labels,
    ready: status?.conditions?.find(({ type }) => type === 'Ready')?.status === 'True',
    linux: (labels['kubernetes.io/os'] ?? 'linux') === 'linux',
    order: createHash('sha256').update(metadata.uid).digest('hex').slice(0, 16),
  };
}

export function namespaceView({ metadata }: KubeObject): NamespaceView {
  return { name: metadata.name, labels: metadata.labels ?? {} };
}

interface RawPolicy extends KubeObject {
  spec?: unknown;
  status?: ProfilingPolicyStatus;
}

export function policyView({ metadata, spec, status }: RawPolicy): PolicyView {
  const { name, uid, generation = 0, creationTimestamp } = metadata;
  return { name, uid, generation, creationTimestamp, spec, status: status ?? {} };
}

interface RawConfig extends KubeObject {
  spec?: unknown;
  status?: NodeProfilingConfigStatus;
}

type SpecView = Pick<NodeConfigView, 'configHash' | 'actualHash' | 'revisions'>;

/** Makes views of NodeProfilingConfigs. Thousands of nodes have the same few specs, so what is learnt of one is kept. */
export function nodeConfigViewer(): (object: KubeObject) => NodeConfigView {
  const known = new Map<string, SpecView>();
  const knownLimits = new Map<string, readonly KernelLimit[]>();
  const share = (limits: readonly KernelLimit[]) => {
    const key = JSON.stringify(limits);
    const shared = knownLimits.get(key) ?? limits;
    if (knownLimits.size >= 1_000) knownLimits.clear();
    knownLimits.set(key, shared);
    return shared;
  };
  return ({ metadata, spec, status }: RawConfig) => {
    const key = createHash('sha256')
      .update(canonicalJson(spec ?? null))
      .digest('base64');
    let view = known.get(key);
    if (!view) {
      view = specView(spec);
      if (known.size >= 10_000) known.clear();
      known.set(key, view);
    }
    return {
      name: metadata.name,
      uid: metadata.uid,
      ownerUid: metadata.ownerReferences?.find(({ kind }) => kind === 'Node')?.uid,
      ...view,
      status: { ...statusView(status), kernelLimits: share(status?.kernelLimits ?? []) },
    };
  };
}

/** Fields of a newer schema are left out before hashing: they are not this operator's to judge. */
function specView(spec: unknown): SpecView {
  const parsed = NodeProfilingConfigSpec.safeParse(spec);
  if (!parsed.success) return { configHash: '', actualHash: 'invalid', revisions: new Map() };
  const revisions = new Map(parsed.data.rules.map(({ policy }) => [policy.uid, policy.revision]));
  return { configHash: parsed.data.configHash, actualHash: configHash(parsed.data), revisions };
}

function statusView(status: NodeProfilingConfigStatus = {}): Omit<NodeConfigView['status'], 'kernelLimits'> {
  const ready = findCondition(status.conditions, 'Ready');
  const degraded = findCondition(status.conditions, 'Degraded');
  const heartbeat = Date.parse(status.lastHeartbeat ?? '');
  return {
    observedHash: status.observedHash,
    appliedHash: status.appliedHash,
    strategy: status.strategy,
    kernel: status.kernel,
    kernelSeries: /^\d+\.\d+/.exec(status.kernel ?? '')?.[0],
    lastHeartbeat: Number.isNaN(heartbeat) ? undefined : heartbeat,
    notReady: ready?.status === 'False' ? { reason: ready.reason, message: ready.message } : undefined,
    degraded: degraded?.status === 'True' ? { reason: degraded.reason, message: degraded.message } : undefined,
    policies: new Map((status.policies ?? []).map((policy) => [policy.uid ?? '', nodePolicyView(policy)])),
  };
}

function nodePolicyView(policy: NonNullable<NodeProfilingConfigStatus['policies']>[number]): NodePolicyView {
  return {
    revision: policy.revision,
    bucket: policy.bucket,
    samples: policy.samples ?? 0,
    truncated: policy.truncated ?? 0,
    baselineRatio: policy.baselineRatio === undefined ? undefined : Number(policy.baselineRatio),
    depth: policy.depth,
    baselineDepth: policy.baselineDepth,
    worstWorkload: policy.worstWorkload,
    topReason: policy.topReason,
    topFile: policy.topFile,
    overriddenPods: (policy.overridden ?? []).reduce((sum, { pods }) => sum + pods, 0),
  };
}
