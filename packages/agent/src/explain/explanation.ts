// SPDX-License-Identifier: Apache-2.0
/**
 * Why stacks of a profile were cut, and what to do about it: by reason, with the files, processes, policies and kernels that
 * are to be named. Pure. `explanation-text.ts` prints it; the JSON form is the object itself.
 */
import { ADVICE, type Concern, type KernelLimit } from '@plumbline/api';
import { ATTRIBUTE } from '../profile/attribute-names.ts';
import type { AttributeValue } from '../profile/attribute-table.ts';
import { frameLabel } from '../profile/frame-label.ts';
import type { Profile } from '../profile/profile.ts';
import type { SampleHandle } from '../profile/sample-table.ts';
import { EMPTY_STACK } from '../profile/stack-table.ts';
import { workloadNameOf } from '../profile/workload-name.ts';

/** Limits under which the samples were taken. */
export interface PolicyLimits {
  /** Empty: there is no policy, the limits are those of the command line. */
  readonly name: string;
  readonly maxFrames: number;
  readonly spill: 'Auto' | 'Never';
}

export interface ExplainContext {
  /** `uname -r`. */
  readonly kernel: string;
  /** tailCall, loop or deferred. */
  readonly strategy: string;
  readonly kernelLimits: readonly KernelLimit[];
  readonly policies: readonly PolicyLimits[];
  /** Reason → what it means to a person. */
  readonly sentences: ReadonlyMap<string, string>;
  /** Samples that left no stack, by reason. */
  readonly lost?: Readonly<Record<string, number>>;
}

/** Fields are added, never renamed: `plumbline explain --json` and `/api/explain` print it. */
export interface Explanation {
  readonly kernel: string;
  readonly strategy: string;
  /** User samples: complete, recovered or truncated. */
  readonly samples: number;
  readonly truncated: number;
  readonly recovered: number;
  /** Truncated share of the user samples, from 0 to 1. */
  readonly truncatedRatio: number;
  /** Most frequent first. */
  readonly causes: readonly Cause[];
  /** Samples that were dropped, most frequent reason first. */
  readonly lost: readonly Loss[];
}

export interface Loss {
  readonly reason: string;
  readonly samples: number;
  readonly meaning: string;
  /** What to do; in the imperative. */
  readonly advice: string;
}

export interface Cause extends Loss {
  readonly concern: Concern;
  /** Share of the user samples. */
  readonly share: number;
  /** Where walks stopped: at most {@link MAX_NAMED}, most samples first. */
  readonly files: readonly CauseFile[];
  readonly processes: readonly CauseProcess[];
  /** Policies whose samples these are, with the limits that they set. */
  readonly policies: readonly (PolicyLimits & { readonly samples: number })[];
  /** What this kernel lacks and would lift it. */
  readonly newerKernel: readonly KernelLimit[];
}

export interface CauseFile {
  readonly path: string;
  readonly buildId: string;
  readonly samples: number;
  /** Pages (virtual addresses in the file) and functions in which walks stopped, most samples first. */
  readonly pages: readonly string[];
  readonly functions: readonly string[];
}

export interface CauseProcess {
  readonly workload: string;
  readonly program: string;
  readonly pid: number;
  readonly samples: number;
}

/** Files, processes, pages and functions that are named of each. */
export const MAX_NAMED = 5;

export function explainProfile(profile: Profile, context: ExplainContext): Explanation {
  const { samples, attributes } = profile;
  const tallies = new Map<string, ReasonTally>();
  const counts = { samples: 0, truncated: 0, recovered: 0 };
  for (let i = 0; i < samples.count; i++) {
    const sample = i as SampleHandle;
    const facts = attributes.entries(samples.attributes(sample));
    const value = samples.value(sample);
    const outcome = facts.get(ATTRIBUTE.stackOutcome);
    if (outcome !== 'complete' && outcome !== 'recovered' && outcome !== 'truncated') continue;
    counts.samples += value;
    if (outcome === 'recovered') counts.recovered += value;
    if (outcome !== 'truncated') continue;
    counts.truncated += value;
    const reason = String(facts.get(ATTRIBUTE.truncationReason) ?? 'unknown');
    let tally = tallies.get(reason);
    if (!tally) {
      tally = new ReasonTally();
      tallies.set(reason, tally);
    }
    tally.add(profile, sample, facts, value);
  }
  return {
    kernel: context.kernel,
    strategy: context.strategy,
    ...counts,
    truncatedRatio: counts.samples === 0 ? 0 : counts.truncated / counts.samples,
    causes: [...tallies]
      .sort(([a, m], [b, n]) => n.samples - m.samples || (a < b ? -1 : 1))
      .map(([reason, tally]) => causeOf(reason, tally, counts.samples, context)),
    lost: Object.entries(context.lost ?? {})
      .filter(([, count]) => count > 0)
      .sort(([, m], [, n]) => n - m)
      .map(([reason, count]) => lossOf(reason, count, context)),
  };
}

function lossOf(reason: string, samples: number, { sentences }: ExplainContext): Loss {
  return { reason, samples, meaning: sentences.get(reason) ?? '', advice: ADVICE[reason]?.todo ?? '' };
}

function causeOf(reason: string, tally: ReasonTally, userSamples: number, context: ExplainContext): Cause {
  const { concern = 'defect', features = [] } = ADVICE[reason] ?? {};
  return {
    ...lossOf(reason, tally.samples, context),
    concern,
    share: tally.samples / userSamples,
    files: [...tally.files.values()]
      .sort((a, b) => b.samples - a.samples || (a.path < b.path ? -1 : 1))
      .slice(0, MAX_NAMED)
      .map(({ path, buildId, samples, pages, functions }) => ({
        path,
        buildId,
        samples,
        pages: mostFrequent(pages),
        functions: mostFrequent(functions),
      })),
    processes: [...tally.processes.values()]
      .sort((a, b) => b.samples - a.samples || a.pid - b.pid)
      .slice(0, MAX_NAMED)
      .map((process) => ({ ...process })),
    policies: context.policies
      .map((limits) => ({ ...limits, samples: tally.policies.get(limits.name) ?? 0 }))
      .filter(({ samples }) => samples > 0)
      .sort((a, b) => b.samples - a.samples),
    newerKernel: context.kernelLimits.filter(({ feature }) => features.includes(feature)),
  };
}

interface FileTally {
  readonly path: string;
  readonly buildId: string;
  samples: number;
  readonly pages: Map<string, number>;
  readonly functions: Map<string, number>;
}

class ReasonTally {
  samples = 0;
  readonly files = new Map<string, FileTally>();
  readonly processes = new Map<string, { workload: string; program: string; pid: number; samples: number }>();
  /** By name; samples that name none belong to the command line. */
  readonly policies = new Map<string, number>();

  add(profile: Profile, sample: SampleHandle, facts: ReadonlyMap<string, AttributeValue>, value: number): void {
    this.samples += value;
    const text = (key: string) => String(facts.get(key) ?? '');
    increment(this.policies, text(ATTRIBUTE.policyName), value);
    this.#addProcess(profile, sample, value);
    const path = text(ATTRIBUTE.truncationFile);
    if (path === '') return;
    const buildId = text(ATTRIBUTE.truncationBuildId);
    const key = `${buildId}\0${path}`;
    let file = this.files.get(key);
    if (!file) {
      file = { path, buildId, samples: 0, pages: new Map(), functions: new Map() };
      this.files.set(key, file);
    }
    file.samples += value;
    const page = text(ATTRIBUTE.truncationPage);
    if (page !== '') increment(file.pages, page, value);
    const last = outermostFunction(profile, sample);
    if (last !== undefined) increment(file.functions, last, value);
  }

  #addProcess(profile: Profile, sample: SampleHandle, value: number): void {
    const resource = profile.attributes.entries(profile.samples.resource(sample));
    const pid = Number(resource.get(ATTRIBUTE.processPid) ?? 0);
    const workload = workloadNameOf(resource);
    const program = String(resource.get(ATTRIBUTE.processExecutableName) ?? '');
    const key = `${workload}\0${pid}\0${program}`;
    const known = this.processes.get(key);
    if (known) known.samples += value;
    else this.processes.set(key, { workload, program, pid, samples: value });
  }
}

/** The function in which the walk stopped: that of the outermost frame that a machine ran. */
function outermostFunction(profile: Profile, sample: SampleHandle): string | undefined {
  const { stacks, frames } = profile;
  let outermost: string | undefined;
  let stack = profile.samples.stack(sample);
  let found = stack;
  for (; stack !== EMPTY_STACK; stack = stacks.parent(stack))
    if (frames.kind(stacks.frame(stack)) !== 'synthetic') found = stack;
  if (found !== EMPTY_STACK && frames.kind(stacks.frame(found)) !== 'synthetic')
    outermost = frameLabel(profile, stacks.frame(found));
  return outermost;
}

function increment(counts: Map<string, number>, key: string, by: number): void {
  counts.set(key, (counts.get(key) ?? 0) + by);
}

function mostFrequent(counts: ReadonlyMap<string, number>): string[] {
  return [...counts]
    .sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1))
    .slice(0, MAX_NAMED)
    .map(([key]) => key);
}
