// SPDX-License-Identifier: Apache-2.0
/**
 * The agents of many nodes in one process: they take up their node's configuration and report as real ones do, or refuse,
 * get worse, or fall silent when told to. One watch serves them all; each writes the status of its own node.
 */
import { API_VERSION, type NodeProfilingConfig, type NodeProfilingConfigStatus } from '@plumbline/api';
import { type ClusterAccess, type KubeObject, Reflector, Resource, Transport } from '@plumbline/kube';

export interface Behaviour {
  /** Reason that the agent gives for refusing the configuration. */
  refuse?: string;
  /** Reason of a Degraded condition once the configuration is in force. */
  degrade?: string;
  /** Write nothing. */
  silent?: boolean;
  /** Truncated share of 10,000 samples of each policy. */
  truncatedRatio?: number;
}

type Config = KubeObject & Pick<NodeProfilingConfig, 'spec' | 'status'>;

export class SimulatedAgents {
  /** What the agent of a node does with a configuration. */
  behaviour: (node: string, config: Config) => Behaviour = () => ({});
  /** Status writes so far. */
  writes = 0;
  readonly #resource: Resource;
  readonly #transport: Transport;
  readonly #reflector: Reflector<Config>;
  readonly #stop = new AbortController();
  readonly #running: Promise<void>;
  readonly #applied = new Map<string, { hash: string; revisions: Map<string, string> }>();
  readonly #busy = new Map<string, Promise<void>>();
  #heartbeats = 0;

  constructor(access: ClusterAccess, { qps = 500 }: { qps?: number } = {}) {
    this.#transport = new Transport({ access, userAgent: 'simulated-agents', qps, burst: qps, connections: 32 });
    this.#resource = new Resource(this.#transport, {
      group: 'profiling.plumbline.dev',
      version: 'v1alpha1',
      plural: 'nodeprofilingconfigs',
    });
    this.#reflector = new Reflector<Config>({
      transport: this.#transport,
      path: this.#resource.path,
      name: 'nodeprofilingconfigs',
      convert: (object) => object as Config,
      onChange: ({ type, value, previous }) => {
        if (type !== 'deleted' && value.spec.configHash !== previous?.spec.configHash) this.#react(value.metadata.name);
        if (type === 'deleted') this.#applied.delete(value.metadata.name);
      },
    });
    this.#running = this.#reflector.run(this.#stop.signal);
  }

  /** Makes the agents of all nodes, or of one, look at their configuration again. */
  wake(node?: string): void {
    for (const { metadata } of this.#reflector.values()) {
      if (node === undefined || node === metadata.name) this.#react(metadata.name);
    }
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
    await Promise.all(this.#busy.values());
    await this.#transport.close();
  }

  #react(name: string): void {
    const after = (this.#busy.get(name) ?? Promise.resolve()).then(() => this.#report(name)).catch(() => {});
    this.#busy.set(name, after);
  }

  async #report(name: string): Promise<void> {
    const config = this.#reflector.get(name);
    if (!config || this.#stop.signal.aborted) return;
    const behaviour = this.behaviour(name, config);
    if (behaviour.silent) return;
    this.writes += 1;
    const status = this.#statusOf(config, behaviour);
    const object = { apiVersion: API_VERSION, kind: 'NodeProfilingConfig', metadata: { name }, status };
    await this.#resource.apply(object, {
      fieldManager: 'plumbline-agent',
      subresource: 'status',
      signal: this.#stop.signal,
    });
  }

  #statusOf({ metadata, spec }: Config, { refuse, degrade, truncatedRatio = 0 }: Behaviour): NodeProfilingConfigStatus {
    if (!refuse) {
      const revisions = new Map(spec.rules.map(({ policy }) => [policy.name, policy.revision]));
      this.#applied.set(metadata.name, { hash: spec.configHash, revisions });
    }
    const applied = this.#applied.get(metadata.name);
    const at = '2026-01-01T00:00:00Z';
    this.#heartbeats += 1;
    return {
      observedGeneration: metadata.generation,
      observedHash: spec.configHash,
      ...(applied && { appliedHash: applied.hash }),
      agentVersion: '0.1.0',
      kernel: '6.1.0-28-cloud-amd64',
      strategy: 'Loop',
      // Always new, however fast they come.
      lastHeartbeat: new Date(Date.now() + (this.#heartbeats % 1000)).toISOString(),
      truncation: { bucket: truncatedRatio > 0.01 ? 'Degraded' : 'Ok', ratio: String(truncatedRatio) },
      policies: spec.rules.flatMap(({ policy: { name, uid } }) => {
        const revision = applied?.revisions.get(name);
        if (revision === undefined) return [];
        return [
          {
            name,
            uid,
            revision,
            bucket: truncatedRatio > 0.01 ? ('Degraded' as const) : ('Ok' as const),
            samples: 10_000,
            truncated: Math.round(10_000 * truncatedRatio),
            depth: 31,
            baselineRatio: '0.002',
            baselineDepth: 42,
            ...(truncatedRatio > 0 && {
              worstWorkload: 'payments/api',
              topReason: 'no_unwind_info',
              topFile: '/opt/libfoo.so (build id abcd)',
            }),
          },
        ];
      }),
      conditions: [
        refuse
          ? { type: 'Ready', status: 'False', reason: refuse, message: `simulated: ${refuse}`, lastTransitionTime: at }
          : { type: 'Ready', status: 'True', reason: 'Applied', message: '', lastTransitionTime: at },
        degrade
          ? {
              type: 'Degraded',
              status: 'True',
              reason: degrade,
              message: `simulated: ${degrade}`,
              lastTransitionTime: at,
            }
          : { type: 'Degraded', status: 'False', reason: 'AsExpected', message: '', lastTransitionTime: at },
      ],
      kernelLimits: [
        { feature: 'taskWork', since: '6.18', effect: 'stacks are walked in the interrupt' },
        { feature: 'numberIterator', since: '6.4', effect: 'loops use bpf_loop' },
      ],
    };
  }
}
