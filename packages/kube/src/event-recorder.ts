// SPDX-License-Identifier: Apache-2.0
/**
 * Events (events.k8s.io/v1) without spam: the same event again becomes a count on the first one, written once a minute,
 * and one object can say one reason only so often. Recording never fails and never waits.
 */
import { createHash } from 'node:crypto';
import { isNotFound } from './api-error.ts';
import { type Clock, microTime, systemClock } from './clock.ts';
import { Resource } from './resource.ts';
import type { Transport } from './transport.ts';

/** The object that an event is about. */
export interface ObjectReference {
  apiVersion: string;
  kind: string;
  name: string;
  namespace?: string;
  uid: string;
}

export interface RecordedEvent {
  regarding: ObjectReference;
  type: 'Normal' | 'Warning';
  /** CamelCase; the same word as the condition's reason. */
  reason: string;
  /** What the controller did or tried, CamelCase. */
  action: string;
  /** For people, at most 1,024 characters. */
  note: string;
}

export interface EventRecorderOptions {
  transport: Transport;
  /** Such as `profiling.plumbline.dev/operator`. */
  controller: string;
  /** The pod. */
  instance: string;
  onError?: (error: unknown) => void;
  clock?: Clock;
}

/** A repetition within this time is the same event. */
const SERIES_MS = 600_000;
/** Counts are written at most so often. */
const SERIES_WRITE_MS = 60_000;
/** New events of one reason about one object: so many at once, then one in so long. */
const BURST = 5;
const REFILL_MS = 300_000;
const MAX_REMEMBERED = 4_096;

interface Series {
  name: string;
  namespace: string;
  count: number;
  lastAt: number;
  writtenAt: number;
  created: Promise<boolean>;
}

export class EventRecorder {
  readonly #options: EventRecorderOptions & { clock: Clock };
  readonly #series = new Map<string, Series>();
  /** By object and reason: when its bucket is full again. */
  readonly #fullAt = new Map<string, number>();
  readonly #pending = new Set<Promise<unknown>>();

  constructor(options: EventRecorderOptions) {
    this.#options = { clock: systemClock, ...options };
  }

  record(event: RecordedEvent): void {
    const now = this.#options.clock.now();
    const { regarding, type, reason, note } = event;
    const key = JSON.stringify([regarding.uid, regarding.name, type, reason, note]);
    const series = this.#series.get(key);
    if (series && now - series.lastAt < SERIES_MS) {
      series.count += 1;
      series.lastAt = now;
      if (now - series.writtenAt >= SERIES_WRITE_MS) this.#writeCount(series, now);
      return;
    }
    if (!this.#mayCreate(`${regarding.uid}/${reason}`, now)) return;
    forgetOldest(this.#series, MAX_REMEMBERED);
    const name = `${regarding.name.slice(0, 200)}.${hash(key, String(now), String(Math.random()))}`;
    const namespace = regarding.namespace ?? 'default';
    const created = this.#create(event, name, namespace);
    this.#series.set(key, { name, namespace, count: 1, lastAt: now, writtenAt: now, created });
  }

  /** Waits for what was recorded to be written. */
  async flush(): Promise<void> {
    await Promise.all(this.#pending);
  }

  #mayCreate(key: string, now: number): boolean {
    const fullAt = Math.max(this.#fullAt.get(key) ?? now, now);
    if (fullAt - now > (BURST - 1) * REFILL_MS) return false;
    forgetOldest(this.#fullAt, MAX_REMEMBERED);
    this.#fullAt.set(key, fullAt + REFILL_MS);
    return true;
  }

  #create({ regarding, type, reason, action, note }: RecordedEvent, name: string, namespace: string): Promise<boolean> {
    const { controller, instance, clock } = this.#options;
    const object = {
      apiVersion: 'events.k8s.io/v1',
      kind: 'Event',
      metadata: { name, namespace },
      eventTime: microTime(clock.date()),
      reportingController: controller,
      reportingInstance: instance.slice(0, 128),
      type,
      reason,
      action,
      note: note.slice(0, 1_024),
      regarding,
    };
    return this.#run(() => this.#events(namespace).create(object));
  }

  #writeCount(series: Series, now: number): void {
    series.writtenAt = now;
    const { count, name, namespace } = series;
    const patch = { series: { count, lastObservedTime: microTime(this.#options.clock.date()) } };
    void this.#run(async () => {
      if (await series.created) await this.#events(namespace).mergePatch(name, patch);
    });
  }

  #events(namespace: string): Resource {
    return new Resource(this.#options.transport, {
      group: 'events.k8s.io',
      version: 'v1',
      plural: 'events',
      namespace,
    });
  }

  #run(write: () => Promise<unknown>): Promise<boolean> {
    const writing = write().then(
      () => true,
      (error: unknown) => {
        if (!isNotFound(error)) this.#options.onError?.(error);
        return false;
      },
    );
    this.#pending.add(writing);
    void writing.finally(() => this.#pending.delete(writing));
    return writing;
  }
}

function hash(...parts: string[]): string {
  return createHash('sha256').update(parts.join('\n')).digest('hex').slice(0, 16);
}

function forgetOldest(map: Map<string, unknown>, max: number): void {
  while (map.size >= max) map.delete(map.keys().next().value!);
}
