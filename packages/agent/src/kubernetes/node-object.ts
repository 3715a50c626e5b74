// SPDX-License-Identifier: Apache-2.0
/**
 * Configuration from this node's NodeProfilingConfig: a watch of one name, which costs the API server a look-up per event.
 *
 * No object means that nothing is to be profiled. While the API server is away the last good configuration is in force;
 * a spec that does not fit the schema, or that the agent cannot apply, is refused with a reason and the one before stays.
 */
import {
  API_VERSION,
  canonicalHash,
  NODE_PROFILING_CONFIG,
  type NodeProfilingSpec,
  parseNodeProfilingSpec,
} from '@plumbline/api';
import { type KubeObject, Reflector, type ReflectorOptions, type Transport } from '@plumbline/kube';
import type { Clock } from '../clock.ts';
import { LastGoodConfig } from '../config/last-good.ts';
import { Newest } from '../config/newest.ts';
import type { ConfigSource, EffectiveConfig } from '../config/source.ts';
import { AgentError } from '../errors.ts';
import type { Logger } from '../log.ts';

/** One state of the node's object. */
export interface ObservedObject {
  readonly uid: string;
  readonly generation: number | undefined;
  /** `spec.configHash` as it stands there, also where the rest of the spec cannot be used. */
  readonly hash: string;
  /** `status.conditions` as it stands there: transition times outlive an agent. */
  readonly conditions: unknown;
}

export interface NodeObjectOptions {
  readonly transport: Transport;
  readonly nodeName: string;
  /** Where the last good configuration is kept. */
  readonly stateDirectory: string;
  readonly log: Logger;
  readonly clock: Clock;
  /** Told of every state of the object, before what becomes of it; undefined: there is no object. */
  readonly onObserved?: (object: ObservedObject | undefined) => void;
  /** A spec does not fit the schema. */
  readonly onInvalid?: (error: AgentError) => void;
  readonly reflector?: Partial<ReflectorOptions<RawConfig>>;
  /** Uniform in [0, 1). */
  readonly random?: () => number;
}

interface RawConfig extends KubeObject {
  readonly spec?: { readonly configHash?: unknown };
  readonly status?: { readonly conditions?: unknown };
}

/** Agents that start together ask within so long: ms. Short, as a new node waits for it. */
const START_JITTER_MS = 2_000;
/** The API server may take so long before the last good configuration is taken: ms. */
const PATIENCE_MS = 5_000;
/** A configuration that could not be applied is tried again after so long: memory or a capability may be there by then. */
const RETRY_MS = 60_000;

export const NODE_CONFIG_PATH = `/apis/${API_VERSION}/${NODE_PROFILING_CONFIG.plural}`;

export class NodeObjectSource implements ConfigSource {
  readonly #options: NodeObjectOptions;
  readonly #lastGood: LastGoodConfig;
  readonly #newest = new Newest<EffectiveConfig>();
  readonly #reflector: Reflector<RawConfig>;
  /** Of the whole spec that was handed on last, so that no change is overlooked. */
  #handedOn: string | undefined;
  /** Why the newest spec cannot be handed on. */
  #invalid: AgentError | undefined;
  /** Why what was handed on is not in force. */
  #refusal: AgentError | undefined;
  #stopped: AbortSignal | undefined;

  constructor(options: NodeObjectOptions) {
    const { transport, nodeName, stateDirectory, log } = options;
    this.#options = options;
    this.#lastGood = new LastGoodConfig(stateDirectory, `${NODE_PROFILING_CONFIG.kind} ${nodeName}`);
    this.#reflector = new Reflector<RawConfig>({
      transport,
      path: NODE_CONFIG_PATH,
      name: NODE_PROFILING_CONFIG.plural,
      fieldSelector: `metadata.name=${nodeName}`,
      fromCache: true,
      convert: (object) => object as RawConfig,
      onChange: ({ type, value }) => this.#take(type === 'deleted' ? undefined : value),
      onSynced: () => {
        if (this.#reflector.size === 0) this.#take(undefined);
      },
      onError: (error) => log.warn('the configuration cannot be watched, trying again', { error }),
      ...options.reflector,
    });
  }

  get problem(): AgentError | undefined {
    return this.#invalid ?? this.#refusal;
  }

  /** Whether changes would be seen at once. */
  get watching(): boolean {
    return this.#reflector.watching;
  }

  async *configs(signal: AbortSignal): AsyncGenerator<EffectiveConfig> {
    this.#stopped = signal;
    const watching = this.#watch(signal);
    void this.#standIn(signal);
    try {
      yield* this.#newest.values(signal);
    } finally {
      await watching;
    }
  }

  applied({ spec }: EffectiveConfig): void {
    this.#refusal = undefined;
    try {
      this.#lastGood.save(spec);
    } catch (thrown) {
      this.#options.log.warn('last good configuration not kept', { error: AgentError.from(thrown) });
    }
  }

  refused(config: EffectiveConfig, error: AgentError): void {
    this.#refusal = error;
    const attempt = this.#handedOn;
    void this.#options.clock.sleep(RETRY_MS, this.#stopped).then(() => {
      if (this.#handedOn === attempt && this.#refusal === error && !this.#stopped?.aborted) this.#newest.put(config);
    });
  }

  async #watch(signal: AbortSignal): Promise<void> {
    const { clock, random = Math.random } = this.#options;
    await clock.sleep(START_JITTER_MS * random(), signal);
    if (!signal.aborted) await this.#reflector.run(signal);
  }

  /** Takes the last good configuration where the API server keeps silent. */
  async #standIn(signal: AbortSignal): Promise<void> {
    const { clock, log, nodeName } = this.#options;
    await clock.sleep(START_JITTER_MS + PATIENCE_MS, signal);
    if (signal.aborted || this.#reflector.synced) return;
    const config = this.#lastGood.load();
    if (config) {
      log.warn('the API server does not answer: starting with the last good configuration');
      this.#handOn(config.spec, config.origin);
      return;
    }
    this.#refusal = new AgentError(
      'config_unreadable',
      `the ${NODE_PROFILING_CONFIG.kind} of node ${nodeName} cannot be read: ${text(this.#reflector.lastError)}`,
      'check that the API server can be reached from this node',
    );
  }

  #take(object: RawConfig | undefined): void {
    const { onObserved, onInvalid, log, nodeName } = this.#options;
    const origin = `${NODE_PROFILING_CONFIG.kind} ${nodeName}`;
    if (!object) {
      onObserved?.(undefined);
      this.#handOn(NOTHING, `no ${origin}`);
      return;
    }
    const { uid, generation } = object.metadata;
    const hash = object.spec?.configHash;
    const conditions = object.status?.conditions;
    onObserved?.({ uid, generation, hash: typeof hash === 'string' ? hash.slice(0, 64) : '', conditions });
    try {
      this.#handOn(parseNodeProfilingSpec({ rules: [], ...object.spec }), origin);
    } catch (thrown) {
      const message = `${origin}: ${(thrown as Error).message}`;
      if (this.#invalid?.message === message) return; // only its status changed
      const error = new AgentError('config_invalid', message, 'see the API reference for what it may hold');
      this.#invalid = error;
      this.#handedOn = undefined; // the one before comes again as a change
      log.error('configuration refused, the one before stays in force', { error });
      onInvalid?.(error);
    }
  }

  /** Only what changed: the object comes again with every status that this agent writes. */
  #handOn(spec: NodeProfilingSpec, origin: string): void {
    const hash = canonicalHash(spec);
    this.#invalid = undefined;
    if (hash === this.#handedOn) return;
    this.#handedOn = hash;
    this.#refusal = undefined;
    this.#newest.put({ spec, origin });
  }
}

const NOTHING = parseNodeProfilingSpec({ rules: [] });

function text(error: unknown): string {
  return error instanceof Error ? error.message : 'no answer';
}
