// SPDX-License-Identifier: Apache-2.0
/** The cluster as the plugin sees it: objects of the API server, and agents behind its pod proxy. */
import {
  NODE_PROFILING_CONFIG,
  type NodeProfilingConfig,
  PROFILING_POLICY,
  type ProfilingPolicy,
} from '@plumbline/api';
import { ApiError, type ClusterAccess, Transport } from '@plumbline/kube';
import { AgentError } from '../../errors.ts';
import { textOf } from '../arguments.ts';
import type { Arguments, Flag } from '../command.ts';
import { VERSION } from '../version.ts';

export const CLUSTER_FLAGS: readonly Flag[] = [
  { name: 'context', value: 'NAME', help: 'Context of the kubeconfig. Default: the current one.' },
  { name: 'kubeconfig', value: 'FILE', help: 'Default: as kubectl, KUBECONFIG or ~/.kube/config.' },
  {
    name: 'agents-namespace',
    value: 'NAME',
    help: 'Namespace that Plumbline is installed in. Default: plumbline, else every namespace is searched.',
  },
];

export interface AgentPod {
  readonly namespace: string;
  readonly name: string;
  readonly node: string;
  readonly port: number;
}

/** What agents answered, and which did not. */
export interface Answers<T> {
  readonly answers: readonly { readonly node: string; readonly value: T }[];
  readonly silent: readonly { readonly node: string; readonly why: string }[];
}

interface Pod {
  readonly metadata: { readonly name: string; readonly namespace: string };
  readonly spec: {
    readonly nodeName?: string;
    readonly containers: readonly {
      readonly ports?: readonly { readonly name?: string; readonly containerPort: number }[];
    }[];
  };
  readonly status?: { readonly phase?: string };
}

const DEFAULT_NAMESPACE = 'plumbline';
const AGENTS = 'app.kubernetes.io/part-of=plumbline,app.kubernetes.io/component=agent';
const HTTP_PORT = 7117;
const PAGE = 500;
/** Agents that are asked at the same time. */
const CONCURRENCY = 16;
const AGENT_TIMEOUT_MS = 20_000;

export class Cluster {
  /** Namespace of the context, or what --namespace says. */
  readonly namespace: string;
  readonly #transport: Transport;
  readonly #agentsNamespace: string | undefined;

  private constructor(access: ClusterAccess, args: Arguments) {
    this.#transport = new Transport({ access, userAgent: `kubectl-plumbline/${VERSION}`, qps: 100, burst: 200 });
    this.#agentsNamespace = textOf(args, 'agents-namespace');
    this.namespace = textOf(args, 'namespace') ?? access.namespace ?? 'default';
  }

  /** Uses the cluster that the flags name, and closes its connections. Errors of the API server become AgentErrors. */
  static async use<T>(args: Arguments, work: (cluster: Cluster) => Promise<T>): Promise<T> {
    let cluster: Cluster | undefined;
    try {
      const { kubeconfigAccess } = await import('@plumbline/kube/kubeconfig');
      const access = kubeconfigAccess(textOf(args, 'kubeconfig'), undefined, textOf(args, 'context'));
      cluster = new Cluster(access, args);
      return await work(cluster);
    } catch (error) {
      throw asAgentError(error);
    } finally {
      await cluster?.close();
    }
  }

  close(): Promise<void> {
    return this.#transport.close();
  }

  policies(): Promise<ProfilingPolicy[]> {
    return this.#list(`/apis/${PROFILING_POLICY.group}/${PROFILING_POLICY.version}/${PROFILING_POLICY.plural}`);
  }

  nodeConfigs(): Promise<NodeProfilingConfig[]> {
    const { group, version, plural } = NODE_PROFILING_CONFIG;
    return this.#list(`/apis/${group}/${version}/${plural}`);
  }

  /** Agents that run, by node; with `nodes` only those there. */
  async agents(nodes?: ReadonlySet<string>): Promise<AgentPod[]> {
    const inNamespace = this.#agentsNamespace ?? DEFAULT_NAMESPACE;
    let pods = await this.#list<Pod>(podsPath(inNamespace), AGENTS);
    if (pods.length === 0 && this.#agentsNamespace === undefined) pods = await this.#list<Pod>('/api/v1/pods', AGENTS);
    const agents = pods.flatMap(({ metadata, spec, status }): AgentPod[] => {
      const { nodeName } = spec;
      if (nodeName === undefined || status?.phase !== 'Running' || nodes?.has(nodeName) === false) return [];
      const port = spec.containers.flatMap(({ ports = [] }) => ports).find(({ name }) => name === 'http');
      return [{ ...metadata, node: nodeName, port: port?.containerPort ?? HTTP_PORT }];
    });
    if (pods.length === 0) {
      const where = this.#agentsNamespace === undefined ? 'in any namespace' : `in namespace ${inNamespace}`;
      throw new AgentError(
        'agent_unreachable',
        `no agents ${where}`,
        'say where Plumbline is installed: --agents-namespace',
      );
    }
    return agents.sort((a, b) => (a.node < b.node ? -1 : 1));
  }

  /**
   * Nodes on which pods of a workload run, as far as the user may see pods; undefined where that is not known, and all agents
   * are to be asked.
   */
  async nodesOf(workload: string): Promise<ReadonlySet<string> | undefined> {
    const [namespace, name] = workload.split('/');
    if (name === undefined) return undefined;
    try {
      const pods = await this.#list<Pod>(podsPath(namespace));
      const nodes = pods
        .filter(({ metadata }) => metadata.name === name || metadata.name.startsWith(`${name}-`))
        .flatMap(({ spec }) => spec.nodeName ?? []);
      return nodes.length > 0 ? new Set(nodes) : undefined;
    } catch (error) {
      if (error instanceof ApiError && error.code === 403) return undefined;
      throw error;
    }
  }

  /** Asks agents for JSON, a few at a time. One that does not answer is named, and holds up nobody. */
  async ask<T>(
    agents: readonly AgentPod[],
    path: string,
    query: Record<string, string | undefined>,
  ): Promise<Answers<T>> {
    const answers: { node: string; value: T }[] = [];
    const silent: { node: string; why: string }[] = [];
    const waiting = [...agents];
    const work = async () => {
      for (let agent = waiting.shift(); agent; agent = waiting.shift()) {
        const { namespace, name, port, node } = agent;
        try {
          const value = await this.#transport.request<T>({
            method: 'GET',
            path: `${podsPath(namespace)}/${name}:${port}/proxy${path}`,
            query,
            timeoutMs: AGENT_TIMEOUT_MS,
            attempts: 2,
          });
          answers.push({ node, value });
        } catch (error) {
          // Not allowed for one is not allowed for all.
          if (error instanceof ApiError && (error.code === 401 || error.code === 403)) throw error;
          silent.push({ node, why: (error as Error).message });
        }
      }
    };
    await Promise.all(Array.from({ length: CONCURRENCY }, work));
    const byNode = (a: { node: string }, b: { node: string }) => (a.node < b.node ? -1 : 1);
    return { answers: answers.sort(byNode), silent: silent.sort(byNode) };
  }

  async #list<T>(path: string, labelSelector?: string): Promise<T[]> {
    const items: T[] = [];
    let next: string | undefined;
    do {
      const page: { items: T[]; metadata: { continue?: string } } = await this.#transport.request({
        method: 'GET',
        verb: 'LIST',
        path,
        query: { limit: PAGE, labelSelector, continue: next },
      });
      items.push(...page.items);
      next = page.metadata.continue || undefined;
    } while (next !== undefined);
    return items;
  }
}

function podsPath(namespace: string): string {
  return `/api/v1/namespaces/${encodeURIComponent(namespace)}/pods`;
}

function asAgentError(error: unknown): unknown {
  if (error instanceof AgentError) return error;
  const { message } = error as Error;
  if (error instanceof ApiError) {
    const remedy =
      error.code === 403
        ? 'ask for the roles that docs/kubectl.md names'
        : error.code === 404 && message.includes(PROFILING_POLICY.group)
          ? 'install Plumbline first'
          : '';
    return new AgentError(error.code === 403 ? 'not_permitted' : 'agent_unreachable', message, remedy, {
      cause: error,
    });
  }
  const { code } = error as { code?: unknown };
  // Refused connections, unknown hosts, bad certificates, kubeconfigs without a cluster.
  if (typeof code === 'string' || /cluster|context|kubeconfig/i.test(message))
    return new AgentError(
      'agent_unreachable',
      `the cluster cannot be reached: ${message || code}`,
      'check kubectl get nodes',
      {
        cause: error,
      },
    );
  return error;
}
