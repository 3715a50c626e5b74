// SPDX-License-Identifier: Apache-2.0
/**
 * A local copy of a collection that stays true: list, then watch from there, for as long as the program runs.
 *
 * Whatever happens — server gone, connection half open, history compacted (410), resource not installed, events that
 * make no sense — it waits and goes on. It ends only when it is told to.
 */
import { ApiError, isGone } from './api-error.ts';
import { Backoff } from './backoff.ts';
import { type Clock, systemClock } from './clock.ts';
import { type KubeMetrics, noMetrics } from './metrics.ts';
import type { KubeObject } from './resource.ts';
import { isNetworkError, type Query, type Transport } from './transport.ts';

/** What happened to one object. An object that was replaced by one of the same name is a delete and an add. */
export interface Change<T> {
  type: 'added' | 'updated' | 'deleted';
  /** `name`, or `namespace/name`. */
  key: string;
  /** The object, or its last known state when it was deleted. */
  value: T;
  /** The state before, for updates. */
  previous?: T;
}

export interface ReflectorOptions<T> {
  transport: Transport;
  /** Such as `/api/v1/pods`. */
  path: string;
  /** For metrics and messages, such as `pods`. */
  name: string;
  fieldSelector?: string;
  labelSelector?: string;
  accept?: string;
  /** List from the server's cache (resourceVersion=0): cheap, perhaps a moment old. For programs that run on every node. */
  fromCache?: boolean;
  /** What to keep of an object; undefined leaves it out, as does an error. */
  convert: (object: KubeObject) => T | undefined;
  onChange?: (change: Change<T>) => void;
  /** After every list, when the copy is whole. */
  onSynced?: () => void;
  /** For people: what went wrong. Called for every failure; the reflector goes on by itself. */
  onError?: (error: unknown) => void;
  /** A watch without a byte for so long is dead. Bookmarks come once a minute, and have been seen two minutes apart. */
  idleMs?: number;
  /** The server ends a watch after so long, or up to twice as long, so that load spreads over its replicas. */
  watchSeconds?: number;
  pageSize?: number;
  backoff?: { initial: number; max: number };
  metrics?: KubeMetrics;
  clock?: Clock;
  random?: () => number;
}

interface Entry<T> {
  uid: string;
  value: T;
}

interface WatchEvent {
  type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK' | 'ERROR';
  object: KubeObject;
}

interface ListPage {
  metadata: { resourceVersion: string; continue?: string };
  items: KubeObject[] | null;
}

/** A watch that ended sooner than this, without an event, counts as a failure: else a broken proxy makes a hot loop. */
const SHORT_WATCH_MS = 1_000;
/** Failures in a row without an event after which the history is given up and everything is listed again. */
const FAILURES_BEFORE_RELIST = 8;

export class Reflector<T> {
  readonly #options: ReflectorOptions<T> &
    Required<Pick<ReflectorOptions<T>, 'idleMs' | 'watchSeconds' | 'pageSize' | 'metrics' | 'clock' | 'random'>>;
  readonly #backoff: Backoff;
  #entries = new Map<string, Entry<T>>();
  /** Where to watch from; undefined: list first. */
  #resourceVersion: string | undefined;
  /** False once the server's cache was too old to be watched from. */
  #fromCache: boolean;
  #synced = false;
  #watching = false;
  #lastContact: number | undefined;
  #lastError: unknown;
  /** Answers in a row that were of no use. */
  #failures = 0;

  constructor(options: ReflectorOptions<T>) {
    this.#options = {
      idleMs: 210_000,
      watchSeconds: 300,
      pageSize: 500,
      metrics: noMetrics,
      clock: systemClock,
      random: Math.random,
      ...options,
    };
    this.#fromCache = options.fromCache ?? false;
    this.#backoff = new Backoff({ initial: 800, max: 30_000, ...options.backoff, random: this.#options.random });
  }

  get name(): string {
    return this.#options.name;
  }

  /** Whether the copy was whole once. It may be old while {@link watching} is false. */
  get synced(): boolean {
    return this.#synced;
  }

  /** Whether a watch is open. */
  get watching(): boolean {
    return this.#watching;
  }

  /** Milliseconds on the clock of the last list, event or bookmark. */
  get lastContact(): number | undefined {
    return this.#lastContact;
  }

  /** Why it is not watching. */
  get lastError(): unknown {
    return this.#lastError;
  }

  get size(): number {
    return this.#entries.size;
  }

  get(key: string): T | undefined {
    return this.#entries.get(key)?.value;
  }

  *values(): Generator<T, void> {
    for (const { value } of this.#entries.values()) yield value;
  }

  /** Runs until the signal aborts, then resolves. Never rejects. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        if (this.#resourceVersion === undefined) await this.#list(signal);
        await this.#watch(signal);
        this.#healthy();
      } catch (error) {
        if (signal.aborted) break;
        this.#fail(error);
        await this.#options.clock.sleep(this.#backoff.next(), signal).catch(() => {});
      }
    }
  }

  #healthy(): void {
    this.#failures = 0;
    this.#backoff.reset();
    this.#lastError = undefined;
  }

  #fail(error: unknown): void {
    const { metrics, name, onError } = this.#options;
    const network = isNetworkError(error);
    if (isGone(error)) {
      this.#resourceVersion = undefined;
      this.#fromCache = false;
    } else if (!network) {
      // A server that was away kept its history; one that answers nonsense from here may be better from a new list.
      this.#failures += 1;
      if (this.#failures >= FAILURES_BEFORE_RELIST) this.#resourceVersion = undefined;
    }
    this.#lastError = error;
    const reason = error instanceof ApiError ? error.reason || String(error.code) : network ? 'network' : 'protocol';
    metrics.reflectorFailed({ name, reason });
    this.#guard(() => onError?.(error));
  }

  async #list(signal: AbortSignal): Promise<void> {
    const { clock, metrics, name } = this.#options;
    const started = clock.now();
    const entries = new Map<string, Entry<T>>();
    let next: string | undefined;
    let resourceVersion: string;
    let items = 0;
    do {
      const page = await this.#page(next, signal);
      for (const object of page.items ?? []) {
        const entry = this.#entryOf(object);
        if (entry) entries.set(keyOf(object), entry);
      }
      items += page.items?.length ?? 0;
      resourceVersion = page.metadata.resourceVersion;
      next = page.metadata.continue;
    } while (next);
    metrics.listed({ name, seconds: (clock.now() - started) / 1000, items });
    this.#lastContact = clock.now();
    this.#replace(entries);
    this.#resourceVersion = resourceVersion;
    this.#synced = true;
    this.#guard(() => this.#options.onSynced?.());
  }

  #page(next: string | undefined, signal: AbortSignal): Promise<ListPage> {
    const { transport, path, pageSize, accept } = this.#options;
    const query: Query = { ...this.#selectors(), limit: pageSize, continue: next };
    if (this.#fromCache && next === undefined) query.resourceVersion = 0;
    return transport.request<ListPage>({ method: 'GET', verb: 'LIST', path, query, accept, signal, attempts: 1 });
  }

  #selectors(): Query {
    const { fieldSelector, labelSelector } = this.#options;
    return { fieldSelector, labelSelector };
  }

  /** The differences between what was known and what is, as changes: nothing that happened while away is missed. */
  #replace(entries: Map<string, Entry<T>>): void {
    const before = this.#entries;
    this.#entries = entries;
    for (const [key, old] of before) {
      if (entries.get(key)?.uid !== old.uid) this.#tell({ type: 'deleted', key, value: old.value });
    }
    for (const [key, { uid, value }] of entries) {
      const old = before.get(key);
      this.#tell(
        old?.uid === uid ? { type: 'updated', key, value, previous: old.value } : { type: 'added', key, value },
      );
    }
  }

  /** One watch, until the server ends it. Throws when it fails or was too short to be true. */
  async #watch(signal: AbortSignal): Promise<void> {
    const { transport, path, clock, random, metrics, name, accept, idleMs, watchSeconds } = this.#options;
    const query: Query = {
      ...this.#selectors(),
      watch: true,
      allowWatchBookmarks: true,
      resourceVersion: this.#resourceVersion,
      timeoutSeconds: Math.round(watchSeconds * (1 + random())),
    };
    const started = clock.now();
    let events = 0;
    metrics.watchStarted({ name });
    const onOpen = () => {
      this.#watching = true;
      this.#lastContact = clock.now();
    };
    try {
      for await (const event of transport.watch({ path, query, accept, signal, idleMs, onOpen })) {
        events += 1;
        this.#lastContact = clock.now();
        this.#take(event as WatchEvent);
        this.#healthy();
      }
    } finally {
      // What was open for a while was good, however it ended.
      if (this.#watching && clock.now() - started >= SHORT_WATCH_MS) this.#backoff.reset();
      this.#watching = false;
    }
    if (events === 0 && clock.now() - started < SHORT_WATCH_MS) {
      metrics.shortWatch({ name });
      throw new Error(`watch of ${name} ended at once and without an event`);
    }
  }

  #take({ type, object }: WatchEvent): void {
    if (type === 'ERROR') throw watchError(object, this.#options.name);
    const { resourceVersion } = object.metadata;
    if (type !== 'BOOKMARK') this.#update(type, object);
    this.#resourceVersion = resourceVersion;
  }

  #update(type: 'ADDED' | 'MODIFIED' | 'DELETED', object: KubeObject): void {
    const key = keyOf(object);
    const old = this.#entries.get(key);
    const entry = type === 'DELETED' ? undefined : this.#entryOf(object);
    if (entry === undefined) {
      this.#entries.delete(key);
      if (old) this.#tell({ type: 'deleted', key, value: old.value });
      return;
    }
    this.#entries.set(key, entry);
    if (old && old.uid !== entry.uid) this.#tell({ type: 'deleted', key, value: old.value });
    this.#tell(
      old?.uid === entry.uid
        ? { type: 'updated', key, value: entry.value, previous: old.value }
        : { type: 'added', key, value: entry.value },
    );
  }

  #entryOf(object: KubeObject): Entry<T> | undefined {
    let value: T | undefined;
    this.#guard(() => {
      value = this.#options.convert(object);
    });
    return value === undefined ? undefined : { uid: object.metadata.uid, value };
  }

  #tell(change: Change<T>): void {
    this.#guard(() => this.#options.onChange?.(change));
  }

  /** A mistake in a handler must not end the watch, and must not go unseen. */
  #guard(call: () => void): void {
    try {
      call();
    } catch (error) {
      this.#lastError = error;
      this.#options.metrics.reflectorFailed({ name: this.#options.name, reason: 'handler' });
      try {
        this.#options.onError?.(error);
      } catch {
        // The error handler itself is broken; the metric above is what is left to say so.
      }
    }
  }
}

function keyOf({ metadata }: KubeObject): string {
  return metadata.namespace === undefined ? metadata.name : `${metadata.namespace}/${metadata.name}`;
}

function watchError(status: unknown, name: string): Error {
  const { code } = (status ?? {}) as { code?: number };
  return ApiError.from(code ?? 500, status, `watch of ${name}`);
}
