// SPDX-License-Identifier: Apache-2.0
/**
 * Every metric of the operator, once: name, help, labels. Those of the client and the controllers have the names that
 * client-go and controller-runtime use, so that existing dashboards and alerts fit.
 */
import type { KubeMetrics } from '@plumbline/kube';
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';

const REQUEST_SECONDS = [0.005, 0.025, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60];
const WORK_SECONDS = [1e-4, 1e-3, 1e-2, 1e-1, 1, 10, 60, 300];

export class OperatorMetrics {
  readonly registry = new Registry();

  readonly reconcileTotal = this.#counter(
    'controller_runtime_reconcile_total',
    'Reconciles by controller and result.',
    ['controller', 'result'],
  );
  readonly reconcileErrors = this.#counter('controller_runtime_reconcile_errors_total', 'Reconciles that failed.', [
    'controller',
  ]);
  readonly reconcileSeconds = this.#histogram(
    'controller_runtime_reconcile_time_seconds',
    'Duration of a reconcile.',
    ['controller'],
    WORK_SECONDS,
  );
  readonly maxConcurrentReconciles = this.#gauge(
    'controller_runtime_max_concurrent_reconciles',
    'Workers of a controller.',
    ['controller'],
  );
  readonly activeWorkers = this.#gauge('controller_runtime_active_workers', 'Workers that are busy.', ['controller']);

  readonly #requests = this.#counter('rest_client_requests_total', 'Requests to the API server.', [
    'code',
    'method',
    'host',
  ]);
  readonly #requestSeconds = this.#histogram(
    'rest_client_request_duration_seconds',
    'Latency of a request.',
    ['verb', 'host'],
    REQUEST_SECONDS,
  );
  readonly #retries = this.#counter('rest_client_request_retries_total', 'Requests sent again.', [
    'code',
    'verb',
    'host',
  ]);
  readonly #rateLimiterSeconds = this.#histogram(
    'rest_client_rate_limiter_duration_seconds',
    'Wait for the rate limit of this client.',
    ['verb', 'host'],
    REQUEST_SECONDS,
  );

  readonly #lists = this.#counter('reflector_lists_total', 'Lists of a collection.', ['name']);
  readonly #listSeconds = this.#histogram(
    'reflector_list_duration_seconds',
    'Duration of a list.',
    ['name'],
    REQUEST_SECONDS,
  );
  readonly #listItems = this.#gauge('reflector_items_per_list', 'Objects in the last list.', ['name']);
  readonly #watches = this.#counter('reflector_watches_total', 'Watches of a collection.', ['name']);
  readonly #shortWatches = this.#counter('reflector_short_watches_total', 'Watches that ended at once.', ['name']);
  readonly #reflectorErrors = this.#counter('reflector_errors_total', 'Lists and watches that failed.', [
    'name',
    'reason',
  ]);

  readonly #queueAdds = this.#counter('workqueue_adds_total', 'Names added to a queue.', ['name']);
  readonly #queueDepth = this.#gauge('workqueue_depth', 'Names waiting in a queue.', ['name']);
  readonly #queueRetries = this.#counter('workqueue_retries_total', 'Names added again after a failure.', ['name']);
  readonly #queueSeconds = this.#histogram(
    'workqueue_queue_duration_seconds',
    'Time that a name waits.',
    ['name'],
    WORK_SECONDS,
  );
  readonly #workSeconds = this.#histogram(
    'workqueue_work_duration_seconds',
    'Time that a name is worked on.',
    ['name'],
    WORK_SECONDS,
  );

  readonly #leading = this.#gauge('leader_election_master_status', '1 on the replica that leads.', ['name']);

  constructor() {
    // The default of 10 ms wakes the process a hundred times a second.
    collectDefaultMetrics({ register: this.registry, eventLoopMonitoringPrecision: 1000 });
  }

  /** A gauge whose values are worked out when they are asked for. */
  collected(
    name: string,
    help: string,
    labels: string[],
    values: () => Iterable<[Record<string, string>, number]>,
  ): void {
    new Gauge({
      name,
      help,
      labelNames: labels,
      registers: [this.registry],
      collect() {
        this.reset();
        for (const [label, value] of values()) this.set(label, value);
      },
    });
  }

  readonly kube: KubeMetrics = {
    requestFinished: ({ method, verb, host, code, seconds }) => {
      this.#requests.inc({ code, method, host });
      this.#requestSeconds.observe({ verb, host }, seconds);
    },
    requestRetried: ({ verb, host, code }) => this.#retries.inc({ code, verb, host }),
    rateLimited: ({ verb, host, seconds }) => this.#rateLimiterSeconds.observe({ verb, host }, seconds),
    listed: ({ name, seconds, items }) => {
      this.#lists.inc({ name });
      this.#listSeconds.observe({ name }, seconds);
      this.#listItems.set({ name }, items);
    },
    watchStarted: ({ name }) => this.#watches.inc({ name }),
    shortWatch: ({ name }) => this.#shortWatches.inc({ name }),
    reflectorFailed: ({ name, reason }) => this.#reflectorErrors.inc({ name, reason }),
    queueDepth: ({ name, depth, added }) => {
      this.#queueDepth.set({ name }, depth);
      if (added) this.#queueAdds.inc({ name });
    },
    queueRetried: ({ name }) => this.#queueRetries.inc({ name }),
    queueWaited: ({ name, seconds }) => this.#queueSeconds.observe({ name }, seconds),
    queueWorked: ({ name, seconds }) => this.#workSeconds.observe({ name }, seconds),
    leading: ({ name, leading }) => this.#leading.set({ name }, leading ? 1 : 0),
  };

  #counter<L extends string>(name: string, help: string, labelNames: L[]): Counter<L> {
    return new Counter({ name, help, labelNames, registers: [this.registry] });
  }

  #gauge<L extends string>(name: string, help: string, labelNames: L[]): Gauge<L> {
    return new Gauge({ name, help, labelNames, registers: [this.registry] });
  }

  #histogram<L extends string>(name: string, help: string, labelNames: L[], buckets: number[]): Histogram<L> {
    return new Histogram({ name, help, labelNames, buckets, registers: [this.registry] });
  }
}
