// SPDX-License-Identifier: Apache-2.0
/** The agent as a pod of a cluster: configuration, pods and status by the API server. Loaded only with `--kubernetes`. */
import { release } from 'node:os';
import { NODE_PROFILING_CONFIG } from '@plumbline/api';
import { type ClusterAccess, inClusterAccess, Resource, Transport } from '@plumbline/kube';
import { type AgentExtensions, type IntervalReport, runAgent } from './agent.ts';
import type { AgentOptions } from './agent-options.ts';
import type { BaselineKeeper } from './baseline/baseline-keeper.ts';
import { AgentError } from './errors.ts';
import { kernelLimitsHere } from './kernel-limits.ts';
import { NodeObjectSource } from './kubernetes/node-object.ts';
import { NodePods } from './kubernetes/pods.ts';
import type { StackDescriber } from './kubernetes/policy-figures.ts';
import { StatusWriter } from './kubernetes/status.ts';
import { ATTRIBUTE } from './profile/attribute-names.ts';
import type { StackCount } from './samples/aggregate.ts';

export interface KubernetesAgentOptions extends Omit<AgentOptions, 'source'> {
  readonly nodeName: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly preflight: () => void;
}

/** Requests per second of one agent: two lists, two watches and a status at start, then next to nothing. */
const QPS = 2;
const BURST = 8;

/** Runs until stopped. Rejects with an AgentError outside of a cluster. */
export async function runKubernetesAgent(options: KubernetesAgentOptions): Promise<void> {
  const { nodeName, settings, clock, stop, version } = options;
  const log = options.log.child({ component: 'kubernetes' });
  const transport = new Transport({
    access: accessFrom(options.env),
    userAgent: `plumbline-agent/${version}`,
    qps: QPS,
    burst: BURST,
    connections: 2,
  });
  const { stateDirectory } = settings;
  const pods = new NodePods({ transport, nodeName, stateDirectory, log, clock });
  let baselines: BaselineKeeper | undefined;
  const status = new StatusWriter({
    resource: new Resource(transport, NODE_PROFILING_CONFIG),
    nodeName,
    agentVersion: version,
    kernel: release(),
    pods: () => pods.values(),
    kernelLimits: kernelLimitsHere,
    baseline: (policies) => baselines?.ofPolicies(policies),
    log,
    clock,
  });
  const source = new NodeObjectSource({
    transport,
    nodeName,
    stateDirectory,
    log,
    clock,
    onObserved: (object) => status.observed(object),
    onInvalid: (error) => status.invalid(error),
  });
  const ended = new AbortController();
  const signal = AbortSignal.any([stop, ended.signal]);
  const running = [pods.run(signal), status.run(signal)];
  const extensions: AgentExtensions = {
    pods,
    preflight: options.preflight,
    resource: { [ATTRIBUTE.nodeName]: nodeName },
    onInterval: (report) => {
      baselines = report.baselines;
      status.interval(report.counts, describer(report), report.health);
    },
    onApplied: (config, strategy) => status.applied(config, strategy),
    onRefused: (config, error) => status.refused(config, error),
    health: (health) =>
      health.check('notice', 'api server', () =>
        source.watching && pods.watching ? undefined : new AgentError('config_unreadable', 'no watch is open', 'wait'),
      ),
  };
  try {
    await runAgent({ ...options, source }, extensions);
  } finally {
    ended.abort();
    await Promise.all(running);
    await transport.close();
  }
}

function accessFrom(env: KubernetesAgentOptions['env']): ClusterAccess {
  try {
    return inClusterAccess({ environment: env as NodeJS.ProcessEnv });
  } catch (cause) {
    throw new AgentError('usage', (cause as Error).message, 'run it in a pod, or give --config FILE', { cause });
  }
}

function describer({ profiler, workloads }: IntervalReport): StackDescriber {
  const imageOf = ({ stack }: StackCount) => profiler.processes.image(stack.tgid, stack.generation);
  return {
    workload: (count) => {
      const image = imageOf(count);
      return image ? workloads.name(image) : 'unknown';
    },
    file: (count) => {
      const { failingPc } = count.stack;
      const mapping = failingPc > 0 ? imageOf(count)?.find(failingPc) : undefined;
      if (!mapping?.path) return undefined;
      const { gnu = '', go = '' } = mapping.executable?.buildIds ?? {};
      return gnu || go ? `${mapping.path} (build id ${gnu || go})` : mapping.path;
    },
  };
}
