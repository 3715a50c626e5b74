// SPDX-License-Identifier: Apache-2.0
/** How complete the stacks of each workload of a profile are: what `kubectl plumbline top` lists. Pure. */
import { ATTRIBUTE } from '../profile/attribute-names.ts';
import type { Profile } from '../profile/profile.ts';
import type { SampleHandle } from '../profile/sample-table.ts';
import type { StackHandle } from '../profile/stack-table.ts';
import { workloadNameOf } from '../profile/workload-name.ts';

/** What is usual for a workload. */
export interface Usual {
  readonly truncatedRatio: number;
  /** User frames of a sample, on average. */
  readonly depth: number;
}

/** Fields are added, never renamed: `/api/workloads` prints it. */
export interface WorkloadSummary {
  readonly workload: string;
  /** Empty where no policy is named. */
  readonly policy: string;
  /** User samples: complete, recovered or truncated. */
  readonly samples: number;
  readonly truncated: number;
  readonly recovered: number;
  readonly truncatedRatio: number;
  /** User frames of a sample, on average. */
  readonly depth: number;
  /** Why most of the truncated stacks are cut. */
  readonly topReason?: string;
  readonly usual?: Usual;
}

/** By workload and policy, the one with the most truncated samples first. */
export function summarizeWorkloads(
  profile: Profile,
  usual: (policy: string, workload: string) => Usual | undefined = () => undefined,
): WorkloadSummary[] {
  const { samples, attributes } = profile;
  const depths = userDepths(profile);
  const tallies = new Map<string, Tally>();
  const names = new Map<number, string>();
  for (let i = 0; i < samples.count; i++) {
    const sample = i as SampleHandle;
    const facts = attributes.entries(samples.attributes(sample));
    const outcome = facts.get(ATTRIBUTE.stackOutcome);
    if (outcome !== 'complete' && outcome !== 'recovered' && outcome !== 'truncated') continue;
    const resource = samples.resource(sample);
    const workload = names.get(resource) ?? workloadNameOf(attributes.entries(resource));
    names.set(resource, workload);
    const policy = String(facts.get(ATTRIBUTE.policyName) ?? '');
    const key = `${policy}\0${workload}`;
    const value = samples.value(sample);
    const tally: Tally = tallies.get(key) ?? {
      workload,
      policy,
      samples: 0,
      truncated: 0,
      recovered: 0,
      frames: 0,
      reasons: new Map(),
    };
    tallies.set(key, tally);
    tally.samples += value;
    tally.frames += value * depths[samples.stack(sample)];
    if (outcome === 'recovered') tally.recovered += value;
    if (outcome !== 'truncated') continue;
    tally.truncated += value;
    const reason = String(facts.get(ATTRIBUTE.truncationReason) ?? 'unknown');
    tally.reasons.set(reason, (tally.reasons.get(reason) ?? 0) + value);
  }
  return sortSummaries(
    [...tallies.values()].map(({ frames, reasons, ...tally }) => {
      const topReason = [...reasons].sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1))[0]?.[0];
      const known = usual(tally.policy, tally.workload);
      return {
        ...tally,
        truncatedRatio: tally.truncated / tally.samples,
        depth: frames / tally.samples,
        ...(topReason !== undefined && { topReason }),
        ...(known && { usual: known }),
      };
    }),
  );
}

/** The same workloads as several nodes see them, joined. */
export function joinSummaries(lists: readonly (readonly WorkloadSummary[])[]): WorkloadSummary[] {
  const groups = Map.groupBy(lists.flat(), ({ policy, workload }) => `${policy}\0${workload}`);
  return sortSummaries(
    [...groups.values()].map((group) => {
      const sum = (pick: (summary: WorkloadSummary) => number) => group.reduce((total, one) => total + pick(one), 0);
      const samples = sum((one) => one.samples);
      const truncated = sum((one) => one.truncated);
      const worst = group.reduce((a, b) => (b.truncated > a.truncated ? b : a));
      const known = group.filter(({ usual }) => usual !== undefined);
      const weight = known.reduce((total, one) => total + one.samples, 0);
      const mean = (pick: (usual: Usual) => number) =>
        known.reduce((total, { usual, samples: n }) => total + pick(usual as Usual) * n, 0) / weight;
      return {
        workload: group[0].workload,
        policy: group[0].policy,
        samples,
        truncated,
        recovered: sum((one) => one.recovered),
        truncatedRatio: samples === 0 ? 0 : truncated / samples,
        depth: samples === 0 ? 0 : sum((one) => one.depth * one.samples) / samples,
        ...(worst.topReason !== undefined && { topReason: worst.topReason }),
        ...(weight > 0 && { usual: { truncatedRatio: mean((u) => u.truncatedRatio), depth: mean((u) => u.depth) } }),
      };
    }),
  );
}

interface Tally {
  readonly workload: string;
  readonly policy: string;
  samples: number;
  truncated: number;
  recovered: number;
  frames: number;
  readonly reasons: Map<string, number>;
}

function sortSummaries(summaries: WorkloadSummary[]): WorkloadSummary[] {
  return summaries.sort(
    (a, b) => b.truncated - a.truncated || b.samples - a.samples || (a.workload < b.workload ? -1 : 1),
  );
}

/** By stack handle: frames that are neither the kernel's nor synthetic. A parent's handle is below its child's. */
function userDepths({ stacks, frames }: Profile): Uint32Array {
  const depths = new Uint32Array(stacks.count);
  for (let i = 1; i < depths.length; i++) {
    const stack = i as StackHandle;
    const kind = frames.kind(stacks.frame(stack));
    depths[i] = depths[stacks.parent(stack)] + (kind === 'kernel' || kind === 'synthetic' ? 0 : 1);
  }
  return depths;
}
