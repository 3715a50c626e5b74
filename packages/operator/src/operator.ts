// SPDX-License-Identifier: Apache-2.0
/** Builds the parts and runs them: watches, election, then the controllers for as long as this replica leads. */
import type { AddressInfo } from 'node:net';
import { API_VERSION, NODE_PROFILING_CONFIG, PROFILING_POLICY } from '@plumbline/api';
import {
  type Change,
  type Clock,
  type ClusterAccess,
  EventRecorder,
  isNotFound,
  type KubeObject,
  LeaderElector,
  Reflector,
  Resource,
  systemClock,
  Transport,
  WorkQueue,
} from '@plumbline/kube';
import { AgentActivity } from './agent-activity.ts';
import { type Reconciler, runController } from './controllers/controller.ts';
import { NodeConfigApply } from './controllers/node-profiling-config-apply.ts';
import { PolicyRollout } from './controllers/profiling-policy-rollout.ts';
import { PolicyStatus } from './controllers/profiling-policy-status.ts';
import { Triggers } from './controllers/triggers.ts';
import { Fleet } from './fleet.ts';
import { collectFleet } from './fleet-metrics.ts';
import { serveHttp } from './http.ts';
import type { Logger } from './log.ts';
import type { Limits, NamespaceView } from './merge/rule.ts';
import { OperatorMetrics } from './metrics.ts';
import { PolicyObserver } from './policy-observer.ts';
import {
  type NodeConfigView,
  type NodeView,
  namespaceView,
  nodeConfigViewer,
  nodeView,
  type PolicyView,
  policyView,
} from './views.ts';

export interface OperatorOptions {
  access: ClusterAccess;
  version: string;
  /** Unique among replicas; the pod's name. */
  identity: string;
  /** Without election this process must be the only one. */
  election: { namespace: string; leaseName: string } | undefined;
  /** Requests per second to the API server, and at once. */
  qps: number;
  burst: number;
  /** Node objects written at a time. */
  workers: number;
  limits: Limits;
  http: { host: string; port: number };
  log: Logger;
  clock?: Clock;
  /** See {@link Reflector}. */
  watchIdleMs?: number;
}

/** Longest wait between two attempts at one name: after an outage everything is right again within this time. */
const MAX_RETRY_MS = 30_000;
/** A watch that is not open for so long makes the replica unready. */
const STALE_MS = 60_000;

export class Operator {
  readonly #options: OperatorOptions & { clock: Clock };
  readonly #metrics = new OperatorMetrics();
  readonly #view = nodeConfigViewer();
  readonly #transport: Transport;
  readonly #electionTransport: Transport;
  readonly #elector: LeaderElector | undefined;
  readonly #nodes: Reflector<NodeView>;
  readonly #namespaces: Reflector<NamespaceView>;
  readonly #policies: Reflector<PolicyView>;
  readonly #configs: Reflector<NodeConfigView>;
  /** Set while this replica leads. */
  #triggers: Triggers | undefined;
  #port = 0;

  constructor(options: OperatorOptions) {
    this.#options = { clock: systemClock, ...options };
    const { access, version, qps, burst, election, identity, log, clock } = this.#options;
    const userAgent = `plumbline-operator/${version}`;
    const metrics = this.#metrics.kube;
    const beforeWrite = () => {
      if (this.#elector && !this.#elector.leading) throw new Error('not leading: the write was kept back');
    };
    this.#transport = new Transport({ access, userAgent, qps, burst, metrics, clock, beforeWrite });
    this.#electionTransport = new Transport({ access, userAgent, qps: 5, burst: 10, metrics, clock });
    if (election) {
      const { namespace, leaseName: name } = election;
      const onError = (error: unknown) => log.warn('leader election', { error: String(error) });
      this.#elector = new LeaderElector({
        transport: this.#electionTransport,
        namespace,
        name,
        identity,
        metrics,
        clock,
        onError,
      });
    }
    this.#nodes = this.#reflector('nodes', '/api/v1/nodes', nodeView, (change) => this.#triggers?.node(change));
    this.#namespaces = this.#reflector('namespaces', '/api/v1/namespaces', namespaceView, (change) =>
      this.#triggers?.namespace(change),
    );
    const custom = ({ plural }: { plural: string }) => `/apis/${API_VERSION}/${plural}`;
    this.#policies = this.#reflector(PROFILING_POLICY.plural, custom(PROFILING_POLICY), policyView, (change) =>
      this.#triggers?.policy(change),
    );
    this.#configs = this.#reflector(NODE_PROFILING_CONFIG.plural, custom(NODE_PROFILING_CONFIG), this.#view, (change) =>
      this.#triggers?.config(change),
    );
  }

  /** Port of the probes and metrics; 0 until {@link run} listens. */
  get port(): number {
    return this.#port;
  }

  get leading(): boolean {
    return this.#triggers !== undefined && (this.#elector?.leading ?? true);
  }

  /**
   * Runs until the signal aborts, then finishes what was begun, gives the lease away and resolves. Rejects when the lease
   * is lost: the process must end then.
   */
  async run(signal: AbortSignal): Promise<void> {
    const { http, log } = this.#options;
    const server = await serveHttp({
      ...http,
      metrics: this.#metrics,
      unhealthy: () => this.#unhealthy(),
      unready: () => this.#unready(),
      overview: () => ({ policies: this.#policies.values(), configs: this.#configs.values() }),
    });
    this.#port = (server.server.address() as AddressInfo).port;
    log.info('listening', { port: this.#port });
    const watches = new AbortController();
    const reflecting = this.#reflectors().map((reflector) => reflector.run(watches.signal));
    try {
      await this.#lead(signal);
    } catch (error) {
      if (!signal.aborted) throw error;
    } finally {
      watches.abort();
      await Promise.all(reflecting);
      await Promise.all([server.close(), this.#transport.close(), this.#electionTransport.close()]);
    }
  }

  async #lead(signal: AbortSignal): Promise<void> {
    const { log, identity } = this.#options;
    await this.#elector?.acquire(signal);
    log.info('leading', { identity });
    const lost = new AbortController();
    const released = new AbortController();
    // The lease is held until the last write is done, and given away only then.
    const holding = (this.#elector?.hold(released.signal) ?? untilAborted(released.signal)).catch((error: unknown) => {
      lost.abort(error);
      throw error;
    });
    const working = this.#control(AbortSignal.any([signal, lost.signal])).finally(() => released.abort());
    await Promise.all([holding, working]);
  }

  async #control(signal: AbortSignal): Promise<void> {
    const { clock, log, limits, identity, version, workers } = this.#options;
    while (!this.#reflectors().every(({ synced }) => synced)) await clock.sleep(50, signal);
    const fleet = new Fleet({ nodes: this.#nodes, namespaces: this.#namespaces, configs: this.#configs }, limits);
    const agents = new AgentActivity(clock);
    const queue = (name: string) =>
      new WorkQueue({ name, maxDelayMs: MAX_RETRY_MS, metrics: this.#metrics.kube, clock });
    const nodeQueue = queue('nodeprofilingconfig.apply');
    const policyQueue = queue('profilingpolicy.rollout');
    const events = new EventRecorder({
      transport: this.#transport,
      controller: 'plumbline.dev/operator',
      instance: `${identity} ${version}`,
      clock,
      onError: (error) => log.warn('event not recorded', { error: String(error) }),
    });
    const resource = (names: { group: string; version: string; plural: string }) =>
      new Resource(this.#transport, names);
    const observer = new PolicyObserver(fleet, agents, clock);
    const policies = resource(PROFILING_POLICY);
    const status = new PolicyStatus({
      fleet,
      observer,
      queue: queue('profilingpolicy.status'),
      policies,
      events,
      clock,
    });
    const configs = resource(NODE_PROFILING_CONFIG);
    const reconcilers: Reconciler[] = [
      new PolicyRollout({ fleet, observer, queue: policyQueue, nodeQueue, status, clock }),
      status,
      new NodeConfigApply({ fleet, queue: nodeQueue, configs, events, view: this.#view, workers }),
    ];
    for (const config of this.#configs.values()) agents.observe(config);
    for (const policy of this.#policies.values()) fleet.setPolicy(policy, clock.now());
    this.#triggers = new Triggers({ fleet, agents, nodeQueue, policyQueue, clock });
    collectFleet(this.#metrics, fleet);
    this.#triggers.everything();
    try {
      await Promise.all(
        reconcilers.map((reconciler) => runController(reconciler, { clock, log, metrics: this.#metrics }, signal)),
      );
      await events.flush();
    } finally {
      this.#triggers = undefined;
    }
  }

  #reflector<T>(
    name: string,
    path: string,
    convert: (object: KubeObject) => T,
    onChange: (change: Change<T>) => void,
  ): Reflector<T> {
    const { clock, log, watchIdleMs } = this.#options;
    return new Reflector<T>({
      transport: this.#transport,
      name,
      path,
      convert,
      onChange,
      onError: (error) => log.warn('watch', { resource: name, error: String(error) }),
      metrics: this.#metrics.kube,
      clock,
      ...(watchIdleMs !== undefined && { idleMs: watchIdleMs }),
    });
  }

  #reflectors(): Watched[] {
    return [this.#nodes, this.#namespaces, this.#policies, this.#configs];
  }

  #unready(): string[] {
    const now = this.#options.clock.now();
    return this.#reflectors().flatMap(({ name, synced, watching, lastContact, lastError }) => {
      const missing = isNotFound(lastError) ? ' (are the CRDs installed?)' : '';
      const why = lastError === undefined ? '' : `: ${String(lastError)}${missing}`;
      if (!synced) return [`${name}: not listed yet${why}`];
      const silent = now - (lastContact ?? now);
      return watching || silent < STALE_MS ? [] : [`${name}: not watched for ${Math.round(silent / 1000)} s${why}`];
    });
  }

  #unhealthy(): string[] {
    return this.#triggers && !this.leading ? ['lost the lease and did not stop'] : [];
  }
}

/** Of a reflector, whatever it reflects. */
type Watched = Pick<Reflector<never>, 'name' | 'synced' | 'watching' | 'lastContact' | 'lastError' | 'run'>;

function untilAborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
