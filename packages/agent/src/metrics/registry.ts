// SPDX-License-Identifier: Apache-2.0
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import { type KeysOfType, type LabelsOf, METRICS, type MetricDefinition, type MetricKey } from './definitions.ts';

/** One series of a metric whose truth is elsewhere. */
export interface Reading<K extends MetricKey> {
  readonly labels: LabelsOf<K>;
  readonly value: number;
}

/**
 * prom-client's metrics of the process, without the statistics of the event loop's lag: they wake the process a hundred
 * times a second, which costs more than the samples. `nodejs_eventloop_lag_seconds`, measured when it is asked for, stays.
 */
function collectOwnMetrics(register: Registry): void {
  collectDefaultMetrics({ register, eventLoopMonitoringPrecision: 60_000 });
  for (const name of ['min', 'max', 'mean', 'stddev', 'p50', 'p90', 'p99']) {
    register.removeSingleMetric(`nodejs_eventloop_lag_${name}_seconds`);
  }
}

/**
 * The agent's metrics. Two ways to feed them: `add`, `set` and `observe` as things happen; `mirror` for figures that are
 * counted elsewhere (in the kernel, by a queue) and read when Prometheus asks. Metrics that nothing feeds are not shown.
 */
export class AgentMetrics {
  readonly #registry = new Registry();
  readonly #made = new Map<MetricKey, Counter | Gauge | Histogram>();

  /** @param own also the figures of the process itself: `process_*` and `nodejs_*`. */
  constructor(own = true) {
    if (own) collectOwnMetrics(this.#registry);
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  /** Text exposition format of Prometheus. */
  text(): Promise<string> {
    return this.#registry.metrics();
  }

  add<K extends KeysOfType<'counter'>>(key: K, labels: LabelsOf<K>, amount = 1): void {
    (this.#get(key) as Counter).inc(labels, amount);
  }

  set<K extends KeysOfType<'gauge'>>(key: K, labels: LabelsOf<K>, value: number): void {
    (this.#get(key) as Gauge).set(labels, value);
  }

  /** Counts `times` observations of a value. */
  observe<K extends KeysOfType<'histogram'>>(key: K, labels: LabelsOf<K>, value: number, times = 1): void {
    const metric = this.#get(key) as Histogram;
    for (let i = 0; i < times; i++) metric.observe(labels, value);
  }

  /**
   * Reads a counter or gauge anew at each scrape: all its series, counters from the beginning on. A metric is mirrored
   * once, or fed by `add` and `set`, not both.
   */
  mirror<K extends KeysOfType<'counter' | 'gauge'>>(key: K, read: () => Iterable<Reading<K>>): void {
    if (this.#made.has(key)) throw new TypeError(`metric ${METRICS[key].name} is fed twice`);
    const definition: MetricDefinition = METRICS[key];
    const series =
      definition.type === 'counter' ? (m: Counter | Gauge, r: Reading<K>) => m.inc(r.labels, r.value) : setGauge<K>;
    const options = {
      ...this.#options(definition),
      collect(this: Counter | Gauge) {
        this.reset();
        // A metric without labels comes back from a reset with the value 0; the others have no series then.
        for (const reading of read()) series(this, reading);
      },
    };
    this.#made.set(key, definition.type === 'counter' ? new Counter(options) : new Gauge(options));
  }

  #options(definition: MetricDefinition) {
    const { name, help, labels } = definition;
    return { name, help, labelNames: Object.keys(labels), registers: [this.#registry] };
  }

  #get(key: MetricKey): Counter | Gauge | Histogram {
    let metric = this.#made.get(key);
    if (metric === undefined) {
      const definition: MetricDefinition = METRICS[key];
      const options = this.#options(definition);
      if (definition.type === 'counter') metric = new Counter(options);
      else if (definition.type === 'gauge') metric = new Gauge(options);
      else metric = new Histogram({ ...options, buckets: [...(definition.buckets ?? [])] });
      this.#made.set(key, metric);
    }
    return metric;
  }
}

function setGauge<K extends MetricKey>(metric: Counter | Gauge, reading: Reading<K>): void {
  (metric as Gauge).set(reading.labels, reading.value);
}
