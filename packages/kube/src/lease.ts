// SPDX-License-Identifier: Apache-2.0
/**
 * Leader election on a Lease (coordination.k8s.io/v1).
 *
 * Whether somebody else's lease has run out is decided by how long *this* process has seen it unchanged, on a clock that
 * cannot be set. Another machine's wall clock is never looked at, so skew of any size can make no second leader.
 */
import { isConflict, isNotFound } from './api-error.ts';
import { type Clock, microTime, systemClock } from './clock.ts';
import { type KubeMetrics, noMetrics } from './metrics.ts';
import { type KubeObject, Resource } from './resource.ts';
import type { Transport } from './transport.ts';

export interface LeaderElectionOptions {
  /** One of its own: a server that asks ordinary traffic to be silent must not cost the lease. */
  transport: Transport;
  namespace: string;
  /** Name of the Lease. */
  name: string;
  /** Unique in the cluster, such as the pod's name and a random part. */
  identity: string;
  /** Others may take over after this long without a renewal. */
  leaseDurationMs?: number;
  /** The leader gives up after this long without a successful renewal; less than the lease, so that it stops first. */
  renewDeadlineMs?: number;
  retryPeriodMs?: number;
  onError?: (error: unknown) => void;
  metrics?: KubeMetrics;
  clock?: Clock;
  random?: () => number;
}

interface Lease extends KubeObject {
  spec?: {
    holderIdentity?: string;
    leaseDurationSeconds?: number;
    acquireTime?: string;
    renewTime?: string;
    leaseTransitions?: number;
  };
}

/** The process led and no longer does. It must stop acting at once; the usual way is to exit. */
export class LeadershipLostError extends Error {
  override readonly name = 'LeadershipLostError';
}

export class LeaderElector {
  readonly #options: Required<Omit<LeaderElectionOptions, 'onError'>> & Pick<LeaderElectionOptions, 'onError'>;
  readonly #leases: Resource<Lease>;
  /** The lease as last seen, and when it was first seen like that, on the clock. */
  #seen: { lease: Lease; at: number } | undefined;
  /** When the last successful renewal was sent; leading only for the renew deadline from then. */
  #renewedAt: number | undefined;

  constructor(options: LeaderElectionOptions) {
    this.#options = {
      leaseDurationMs: 15_000,
      renewDeadlineMs: 10_000,
      retryPeriodMs: 2_000,
      metrics: noMetrics,
      clock: systemClock,
      random: Math.random,
      ...options,
    };
    const { leaseDurationMs, renewDeadlineMs, retryPeriodMs } = this.#options;
    if (!(leaseDurationMs > renewDeadlineMs && renewDeadlineMs > retryPeriodMs * 1.2 && retryPeriodMs > 0)) {
      throw new RangeError('leader election needs leaseDuration > renewDeadline > 1.2 × retryPeriod > 0');
    }
    const names = { group: 'coordination.k8s.io', version: 'v1', plural: 'leases', namespace: options.namespace };
    this.#leases = new Resource<Lease>(options.transport, names);
  }

  /**
   * Whether this process may act now. False also right after it was stopped and continued by somebody, before any of its
   * timers has run: ask before every write.
   */
  get leading(): boolean {
    const { clock, renewDeadlineMs } = this.#options;
    return this.#renewedAt !== undefined && clock.now() - this.#renewedAt < renewDeadlineMs;
  }

  /** Who holds the lease, as last seen. */
  get holder(): string | undefined {
    return this.#seen?.lease.spec?.holderIdentity || undefined;
  }

  /** Waits until this process leads. Rejects only when aborted. */
  async acquire(signal: AbortSignal): Promise<void> {
    const { clock, metrics, name } = this.#options;
    metrics.leading({ name, leading: false });
    while (!(await this.#try(signal))) await clock.sleep(this.#jittered(), signal);
    metrics.leading({ name, leading: true });
  }

  /**
   * Renews the lease. Resolves when the signal aborts, after giving the lease away; rejects with
   * {@link LeadershipLostError} when it could not be renewed in time or somebody else has it.
   */
  async hold(signal: AbortSignal): Promise<void> {
    const { clock, metrics, name } = this.#options;
    try {
      while (!signal.aborted) {
        await clock.sleep(this.#jittered(), signal).catch(() => {});
        if (signal.aborted) break;
        await this.#try(signal);
        if (!this.leading) throw new LeadershipLostError(`lost the lease ${name}, held by ${this.holder ?? 'nobody'}`);
      }
      await this.#release();
    } finally {
      this.#renewedAt = undefined;
      metrics.leading({ name, leading: false });
    }
  }

  #jittered(): number {
    return this.#options.retryPeriodMs * (1 + 0.2 * this.#options.random());
  }

  /** One attempt to take or renew the lease. Failures are reported and mean false. */
  async #try(signal: AbortSignal): Promise<boolean> {
    const { clock, renewDeadlineMs, identity } = this.#options;
    const sentAt = clock.now();
    const attempt = AbortSignal.any([signal, AbortSignal.timeout(renewDeadlineMs)]);
    try {
      this.#observe(await this.#read(attempt));
      if (!this.#mayTake()) {
        if (this.holder !== identity) this.#renewedAt = undefined;
        return false;
      }
      this.#observe(await this.#write(this.#next(), attempt));
      this.#renewedAt = sentAt;
      return true;
    } catch (error) {
      if (!signal.aborted && !isConflict(error)) this.#options.onError?.(error);
      return false;
    }
  }

  async #read(signal: AbortSignal): Promise<Lease | undefined> {
    try {
      return await this.#leases.get(this.#options.name, signal);
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  }

  #observe(lease: Lease | undefined): void {
    if (lease === undefined) this.#seen = undefined;
    else if (this.#seen?.lease.metadata.resourceVersion !== lease.metadata.resourceVersion) {
      this.#seen = { lease, at: this.#options.clock.now() };
    }
  }

  #mayTake(): boolean {
    const { identity, clock, leaseDurationMs } = this.#options;
    const spec = this.#seen?.lease.spec;
    if (!this.#seen || !spec?.holderIdentity || spec.holderIdentity === identity) return true;
    const duration = (spec.leaseDurationSeconds ?? 0) * 1000 || leaseDurationMs;
    return clock.now() - this.#seen.at >= duration;
  }

  #next(): NonNullable<Lease['spec']> {
    const { clock, leaseDurationMs, identity } = this.#options;
    const before = this.#seen?.lease.spec;
    const now = microTime(clock.date());
    const kept = before?.holderIdentity === identity;
    return {
      holderIdentity: identity,
      leaseDurationSeconds: Math.ceil(leaseDurationMs / 1000),
      acquireTime: (kept && before?.acquireTime) || now,
      renewTime: now,
      leaseTransitions: (before?.leaseTransitions ?? 0) + (before && !kept ? 1 : 0),
    };
  }

  #write(spec: Lease['spec'], signal: AbortSignal): Promise<Lease> {
    const { name, namespace } = this.#options;
    const identity = { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease' };
    const seen = this.#seen?.lease;
    if (!seen) return this.#leases.create({ ...identity, metadata: { name, namespace }, spec }, signal);
    return this.#leases.replace({ ...seen, ...identity, spec }, signal);
  }

  /** Lets the next one start at once instead of after the lease duration. */
  async #release(): Promise<void> {
    if (!this.leading) return;
    try {
      const spec = { ...this.#next(), holderIdentity: undefined, leaseDurationSeconds: 1 };
      await this.#write(spec, AbortSignal.timeout(this.#options.renewDeadlineMs / 2));
    } catch (error) {
      this.#options.onError?.(error);
    }
  }
}
