// SPDX-License-Identifier: Apache-2.0
/** A real API server with the CRDs, and operators on it: in this process, or as processes of their own. */
import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import { API_VERSION, type ProfilingPolicyStatus } from '@plumbline/api';
import { customResourceDefinition, KINDS } from '@plumbline/api/crd';
import type { ClusterAccess } from '@plumbline/kube';
import { kubeconfigAccess } from '@plumbline/kube/kubeconfig';
import { ControlPlane, type KubernetesObject } from '../../../e2e/cluster/control-plane.ts';
import { waitUntil } from '../../../e2e/cluster/wait-until.ts';
import { Operator, type OperatorOptions } from '../src/operator.ts';

export type Policy = KubernetesObject & { status?: ProfilingPolicyStatus };
export type NodeConfig = KubernetesObject & {
  metadata: { uid: string; ownerReferences: { uid: string }[] };
  spec: {
    configHash: string;
    rules: { policy: { name: string; revision: string }; namespaces: string[]; frequencyHz: number }[];
  };
};

export interface RunningOperator {
  operator: Operator;
  lines: string[];
  /** Resolves when it ended; rejects as {@link Operator.run} does. */
  ended: Promise<void>;
  stop(): Promise<void>;
  /** Status code and body of a probe. */
  probe(path: string): Promise<{ status: number; text: string }>;
}

export class OperatorOnCluster {
  readonly controlPlane: ControlPlane;
  readonly access: ClusterAccess;
  readonly #stops: (() => Promise<unknown>)[] = [];

  private constructor(controlPlane: ControlPlane) {
    this.controlPlane = controlPlane;
    this.access = kubeconfigAccess(controlPlane.kubeconfig);
  }

  static async start({ crds = true, controllers = false } = {}): Promise<OperatorOnCluster> {
    const cluster = new OperatorOnCluster(await ControlPlane.start({ controllers }));
    if (crds) await cluster.installCrds();
    return cluster;
  }

  async installCrds(): Promise<void> {
    await this.controlPlane.apply(...(KINDS.map(customResourceDefinition) as unknown as KubernetesObject[]));
    for (const { names } of KINDS) {
      // Established comes before the resource is served.
      await waitUntil(`${names.plural} to be served`, async () => {
        await this.controlPlane.kubectl('get', names.plural);
        return true;
      });
    }
  }

  /** To be called when the test ends, last first. */
  onStop(stop: () => Promise<unknown>): void {
    this.#stops.push(stop);
  }

  async stop(): Promise<void> {
    for (const stop of this.#stops.reverse()) await stop();
    await this.controlPlane.stop();
  }

  /** Starts an operator in this process, alone and without election unless told otherwise. */
  runOperator(options: Partial<OperatorOptions> = {}): RunningOperator {
    const lines: string[] = [];
    const log = (message: string, fields?: object) => void lines.push(`${message} ${JSON.stringify(fields ?? {})}`);
    const operator = new Operator({
      access: this.access,
      version: 'test',
      identity: 'test-0',
      election: undefined,
      qps: 200,
      burst: 200,
      workers: 16,
      limits: { maxFrequencyHz: 997, maxCpuPercentOfNode: 100, resourceAttributes: {} },
      http: { host: '127.0.0.1', port: 0 },
      log: { debug: log, info: log, warn: log, error: log },
      ...options,
    });
    const abort = new AbortController();
    const ended = operator.run(abort.signal);
    ended.catch(() => {});
    const stop = async () => {
      abort.abort();
      await ended.catch(() => {});
    };
    this.onStop(stop);
    const probe = async (path: string) => {
      const response = await fetch(`http://127.0.0.1:${operator.port}${path}`);
      return { status: response.status, text: await response.text() };
    };
    return { operator, lines, ended, stop, probe };
  }

  /** Starts an operator as a process of its own, with election, as the user `operator-<port>`. */
  spawnOperator(port: number, ...flags: string[]): ChildProcess & { log: () => string } {
    const main = join(import.meta.dirname, '../src/main.ts');
    const user = `operator-${port}`;
    const { authority, server } = this.controlPlane;
    const kubeconfig = authority.issueKubeconfig(server, {
      name: user,
      commonName: user,
      organization: 'system:masters',
    });
    const args = [main, '--kubeconfig', kubeconfig, '--namespace', 'default', '--http', `127.0.0.1:${port}`, ...flags];
    const child = spawn(process.execPath, args, {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { ...process.env, POD_NAME: `operator-${port}` },
    });
    let text = '';
    child.stderr!.on('data', (chunk) => {
      text += chunk;
    });
    const exited = new Promise((resolve) => child.once('exit', resolve));
    this.onStop(async () => {
      if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
      await exited;
    });
    return Object.assign(child, { log: () => text });
  }

  async addNodes(...nodes: (string | { name: string; labels: Record<string, string> })[]): Promise<void> {
    const objects = nodes.map((node) => {
      const { name, labels } = typeof node === 'string' ? { name: node, labels: {} } : node;
      return { apiVersion: 'v1', kind: 'Node', metadata: { name, labels: { 'kubernetes.io/os': 'linux', ...labels } } };
    });
    await this.controlPlane.apply(...objects);
    await Promise.all(objects.map(({ metadata: { name } }) => this.setNodeReady(name, true)));
  }

  async setNodeReady(name: string, ready: boolean): Promise<void> {
    const conditions = [{ type: 'Ready', status: ready ? 'True' : 'Unknown', reason: 'Test', message: '' }];
    const patch = JSON.stringify({ status: { conditions } });
    await this.controlPlane.kubectl('patch', 'node', name, '--subresource=status', '--type=merge', '-p', patch);
  }

  applyPolicy(name: string, spec: object): Promise<void> {
    return this.controlPlane.apply({ apiVersion: API_VERSION, kind: 'ProfilingPolicy', metadata: { name }, spec });
  }

  policy(name: string): Promise<Policy> {
    return this.controlPlane.get<Policy>('profpol', name);
  }

  config(node: string): Promise<NodeConfig> {
    return this.controlPlane.get<NodeConfig>('npc', node);
  }

  /** Waits until a condition of the policy has that status (and reason); answers with it. */
  waitForCondition(name: string, type: string, status: string, reason?: string) {
    return waitUntil(`${name} to be ${type}=${status} ${reason ?? ''}`, async () => {
      const condition = (await this.policy(name)).status?.conditions?.find((item) => item.type === type);
      return condition?.status === status && (reason === undefined || condition.reason === reason) && condition;
    });
  }

  /** Waits until the node's object has the rules of exactly these policies, in this order. */
  waitForRules(node: string, ...policies: string[]): Promise<NodeConfig> {
    return waitUntil(`rules of ${node} to be ${policies}`, async () => {
      const config = await this.config(node);
      return config.spec.rules.map(({ policy: { name } }) => name).join() === policies.join() && config;
    });
  }

  /** Writes that the audit log holds since `from`, by user agent. */
  writes(from = 0): { verb: string; resource: string; name: string; agent: string; code: number }[] {
    return this.controlPlane
      .auditEvents()
      .slice(from)
      .map(({ verb, objectRef, userAgent, responseStatus }) => ({
        verb,
        resource: `${objectRef?.resource}${objectRef?.subresource ? `/${objectRef.subresource}` : ''}`,
        name: objectRef?.name ?? '',
        agent: userAgent ?? '',
        code: responseStatus?.code ?? 0,
      }));
  }
}
