// SPDX-License-Identifier: Apache-2.0
/**
 * Writes what the agent says of itself into the status of its NodeProfilingConfig, by server-side apply.
 *
 * A transition is written at once, but not within ten seconds of the write before; figures alone only with a slow heartbeat:
 * thousands of agents write to one API server.
 */
import {
  AGENT_FIELD_MANAGER,
  API_VERSION,
  type Condition,
  Conditions,
  type KernelLimit,
  NODE_PROFILING_CONFIG,
  type NodeProfilingConfigStatus,
  type NodeProfilingSpec,
  type Reason,
  setCondition,
  timestamp,
} from '@plumbline/api';
import { isNotFound, type Resource } from '@plumbline/kube';
import type { Clock } from '../clock.ts';
import type { EffectiveConfig } from '../config/source.ts';
import type { AgentError } from '../errors.ts';
import type { Logger } from '../log.ts';
import type { StackCount } from '../samples/aggregate.ts';
import { Selection } from '../workloads/selection.ts';
import { Degradation, type IntervalHealth } from './degradation.ts';
import type { ObservedObject } from './node-object.ts';
import type { NodePod } from './pod.ts';
import { podCounts } from './pod-counts.ts';
import { PolicyFigures, ratioText, type StackDescriber } from './policy-figures.ts';

export interface StatusOptions {
  readonly resource: Resource;
  readonly nodeName: string;
  readonly agentVersion: string;
  /** `uname -r`. */
  readonly kernel: string;
  readonly pods: () => Iterable<NodePod>;
  /** What the kernel lacks. */
  readonly kernelLimits: () => readonly KernelLimit[];
  /** What is usual over these policies, where enough is known. */
  readonly baseline: (
    policies: readonly string[],
  ) => { readonly truncatedRatio: number; readonly depth: number } | undefined;
  readonly log: Logger;
  readonly clock: Clock;
  /** Uniform in [0, 1). */
  readonly random?: () => number;
}

const MIN_INTERVAL_MS = 10_000;
const HEARTBEAT_MS = 10 * 60_000;
/** Share of the heartbeat by which agents differ, so that they do not write together. */
const HEARTBEAT_SPREAD = 0.2;
const MAX_RETRY_MS = 2 * 60_000;
const MAX_MESSAGE = 1024;

interface InForce {
  readonly spec: NodeProfilingSpec;
  readonly selection: Selection;
  readonly strategy: NodeProfilingConfigStatus['strategy'];
}

export class StatusWriter {
  readonly #options: StatusOptions;
  readonly #figures = new PolicyFigures();
  readonly #degradation = new Degradation();
  #object: ObservedObject | undefined;
  /** Hash of what the agent last tried. */
  #triedHash: string | undefined;
  /** Generation of the object in which that was seen last; undefined: nothing that stands in the object was tried yet. */
  #generation: number | undefined;
  #inForce: InForce | undefined;
  /** Why what was tried is not in force. */
  #refusal: AgentError | undefined;
  #conditions: Condition[] = [];
  #wake = new AbortController();
  /** Writes that failed in a row, and until when there is to be none. */
  #failures = 0;
  #earliest = 0;

  constructor(options: StatusOptions) {
    this.#options = options;
  }

  /** The object as it stands; undefined: there is none, and nowhere to write to. */
  observed(object: ObservedObject | undefined): void {
    if (object && this.#conditions.length === 0)
      this.#conditions = Conditions.safeParse(object.conditions).data?.slice() ?? [];
    this.#object = object;
    this.#compare();
    // The API server is back: no reason to wait any longer.
    if (this.#failures > 0) this.#earliest = 0;
    this.#wake.abort();
  }

  applied({ spec }: EffectiveConfig, strategy: string | undefined): void {
    this.#inForce = { spec, selection: new Selection(spec.rules), strategy: strategyName(strategy) };
    this.#conclude(spec.configHash, undefined);
  }

  refused({ spec }: EffectiveConfig, error: AgentError): void {
    this.#conclude(spec.configHash, error);
  }

  /** The object's spec does not fit the schema. */
  invalid(error: AgentError): void {
    this.#conclude(this.#object?.hash ?? '', error);
  }

  interval(counts: readonly StackCount[], describe: StackDescriber, health: IntervalHealth): void {
    if (!this.#inForce) return;
    const now = this.#now();
    this.#figures.add(this.#inForce.spec, counts, describe, now);
    this.#degradation.observe(health, now);
    this.#wake.abort();
  }

  /** Writes until the signal aborts. Never rejects. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, log, random = Math.random } = this.#options;
    let written: string | undefined;
    let heartbeat = 0;
    let wait = HEARTBEAT_MS;
    while (!signal.aborted) {
      await clock.sleep(wait, AbortSignal.any([signal, this.#wake.signal]));
      if (signal.aborted) return;
      if (this.#wake.signal.aborted) this.#wake = new AbortController();
      const now = this.#now();
      const key = this.#object && this.#generation !== undefined && this.#transitions(this.#status());
      if (!key) {
        written = undefined;
        wait = HEARTBEAT_MS;
        continue;
      }
      const due = key === written ? heartbeat : this.#earliest;
      if (now < due) {
        wait = due - now;
        continue;
      }
      try {
        await this.#write(signal);
        this.#failures = 0;
        written = key;
        this.#earliest = now + MIN_INTERVAL_MS;
        heartbeat = now + HEARTBEAT_MS * (1 + HEARTBEAT_SPREAD * (2 * random() - 1));
      } catch (error) {
        if (signal.aborted) return;
        this.#failures++;
        this.#earliest = now + Math.min(MAX_RETRY_MS, MIN_INTERVAL_MS * 2 ** Math.min(this.#failures - 1, 10));
        heartbeat = this.#earliest;
        // Deleted a moment ago: the watch will say so.
        if (!isNotFound(error)) log.warn('the status cannot be written, trying again', { error });
      }
      wait = 0;
    }
  }

  #now(): number {
    return Number(this.#options.clock.monotonicNs()) / 1e6;
  }

  #conclude(hash: string, refusal: AgentError | undefined): void {
    this.#wake.abort();
    const newest = this.#object?.hash;
    // The newest was refused while an older one was still being applied.
    if (this.#refusal && this.#triedHash === newest && hash !== newest) return;
    this.#triedHash = hash;
    this.#refusal = refusal;
    this.#compare();
  }

  #compare(): void {
    if (this.#object && this.#object.hash === this.#triedHash) this.#generation = this.#object.generation ?? 0;
  }

  async #write(signal: AbortSignal): Promise<void> {
    const { resource, nodeName, clock } = this.#options;
    const status = { ...this.#status(), lastHeartbeat: timestamp(new Date(clock.wallMs())) };
    const { kind } = NODE_PROFILING_CONFIG;
    const object = { apiVersion: API_VERSION, kind, metadata: { name: nodeName }, status };
    await resource.apply(object, { fieldManager: AGENT_FIELD_MANAGER, subresource: 'status', signal });
  }

  /** What is worth a write of its own: everything but figures and times. */
  #transitions(status: NodeProfilingConfigStatus): string {
    return JSON.stringify({
      uid: this.#object?.uid,
      tried: [status.observedGeneration, status.observedHash, status.appliedHash],
      agent: [status.agentVersion, status.kernel, status.strategy],
      bucket: status.truncation?.bucket,
      policies: status.policies?.map(({ name, revision, bucket }) => [name, revision, bucket]),
      conditions: status.conditions?.map(({ type, status: value, reason, message }) => [type, value, reason, message]),
    });
  }

  #status(): NodeProfilingConfigStatus {
    const { agentVersion, kernel, pods, kernelLimits } = this.#options;
    const now = this.#now();
    const inForce = this.#inForce;
    const rules = inForce?.spec.rules ?? [];
    const counts = inForce ? podCounts(pods(), inForce.selection, rules) : [];
    this.#updateConditions();
    return {
      observedGeneration: this.#generation,
      observedHash: this.#triedHash,
      ...(inForce && { appliedHash: inForce.spec.configHash }),
      agentVersion,
      kernel: kernel.slice(0, 128),
      ...(inForce?.strategy && { strategy: inForce.strategy }),
      ...(rules.length > 0 && {
        truncation: { ...this.#figures.node(now), ...this.#nodeBaseline(rules.map(({ policy }) => policy.name)) },
      }),
      policies: rules.map((rule, index) => ({
        name: rule.policy.name,
        uid: rule.policy.uid,
        revision: rule.policy.revision,
        ...this.#figures.of(rule, now),
        ...this.#baseline([rule.policy.name]),
        pods: counts[index].pods,
        ...(counts[index].overridden.length > 0 && { overridden: [...counts[index].overridden] }),
      })),
      kernelLimits: [...kernelLimits()],
      conditions: this.#conditions,
    };
  }

  #nodeBaseline(policies: readonly string[]): { baselineRatio?: string } {
    const { baselineRatio } = this.#baseline(policies);
    return baselineRatio === undefined ? {} : { baselineRatio };
  }

  #baseline(policies: readonly string[]): { baselineRatio?: string; baselineDepth?: number } {
    const usual = this.#options.baseline(policies);
    return usual ? { baselineRatio: ratioText(usual.truncatedRatio), baselineDepth: Math.round(usual.depth) } : {};
  }

  #updateConditions(): void {
    const set = (type: string, status: Condition['status'], reason: Reason, message: string) => {
      const observedGeneration = this.#generation;
      const next = { type, status, reason, message: message.slice(0, MAX_MESSAGE), observedGeneration };
      this.#conditions = setCondition(this.#conditions, next, new Date(this.#options.clock.wallMs()));
    };
    const rules = this.#inForce?.spec.rules.length ?? 0;
    const sentence =
      rules === 0 ? 'nothing is to be profiled' : `${rules} ${rules === 1 ? 'rule is' : 'rules are'} in force`;
    if (this.#refusal) set('Ready', 'False', reasonOf(this.#refusal), this.#refusal.toLine());
    else set('Ready', 'True', 'Applied', sentence);
    const trouble = this.#degradation.trouble;
    if (trouble && rules > 0) set('Degraded', 'True', trouble.reason, trouble.message);
    else set('Degraded', 'False', 'AsExpected', '');
  }
}

function strategyName(strategy: string | undefined): NodeProfilingConfigStatus['strategy'] {
  const names = { loop: 'Loop', tailCall: 'TailCall', deferred: 'Deferred' } as const;
  return names[strategy as keyof typeof names];
}

/** The word for programs that an error of the agent is. */
export function reasonOf({ code, cause }: AgentError): Reason {
  switch (code) {
    case 'not_permitted':
      return 'PermissionDenied';
    case 'bpf_unavailable':
      return (cause as { verifierLog?: string } | undefined)?.verifierLog ? 'VerifierRejected' : 'KernelUnsupported';
    case 'btf_missing':
    case 'strategy_unavailable':
    case 'event_unavailable':
      return 'KernelUnsupported';
    default:
      return 'InvalidConfig';
  }
}
