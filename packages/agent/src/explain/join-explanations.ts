// SPDX-License-Identifier: Apache-2.0
/** Explanations of several nodes as one. Pure. */
import { type Cause, type CauseFile, type Explanation, MAX_NAMED } from './explanation.ts';

export function joinExplanations(explanations: readonly Explanation[]): Explanation {
  const sum = (pick: (explanation: Explanation) => number) => explanations.reduce((total, one) => total + pick(one), 0);
  const samples = sum((one) => one.samples);
  const truncated = sum((one) => one.truncated);
  const causes = Map.groupBy(
    explanations.flatMap((one) => one.causes),
    ({ reason }) => reason,
  );
  const lost = Map.groupBy(
    explanations.flatMap((one) => one.lost),
    ({ reason }) => reason,
  );
  return {
    kernel: list(explanations.map(({ kernel }) => kernel)),
    strategy: list(explanations.map(({ strategy }) => strategy)),
    samples,
    truncated,
    recovered: sum((one) => one.recovered),
    truncatedRatio: samples === 0 ? 0 : truncated / samples,
    causes: mostFirst([...causes.values()].map((group) => joinCauses(group, samples))),
    lost: mostFirst([...lost.values()].map((group) => ({ ...group[0], samples: total(group) }))),
  };
}

function joinCauses(group: readonly Cause[], userSamples: number): Cause {
  const samples = total(group);
  const files = Map.groupBy(
    group.flatMap(({ files }) => files),
    ({ path, buildId }) => `${buildId}\0${path}`,
  );
  const policies = Map.groupBy(
    group.flatMap(({ policies }) => policies),
    ({ name, maxFrames, spill }) => JSON.stringify([name, maxFrames, spill]),
  );
  const newer = new Map(group.flatMap(({ newerKernel }) => newerKernel).map((limit) => [limit.feature, limit]));
  return {
    ...group[0],
    samples,
    share: userSamples === 0 ? 0 : samples / userSamples,
    files: mostFirst([...files.values()].map(joinFiles)).slice(0, MAX_NAMED),
    // Process ids of different nodes are different processes.
    processes: mostFirst(group.flatMap(({ processes }) => processes)).slice(0, MAX_NAMED),
    policies: mostFirst([...policies.values()].map((same) => ({ ...same[0], samples: total(same) }))),
    newerKernel: [...newer.values()],
  };
}

function joinFiles(group: readonly CauseFile[]): CauseFile {
  const [largest] = mostFirst([...group]);
  return {
    ...largest,
    samples: total(group),
    pages: distinct(mostFirst([...group]).flatMap(({ pages }) => pages)).slice(0, MAX_NAMED),
    functions: distinct(mostFirst([...group]).flatMap(({ functions }) => functions)).slice(0, MAX_NAMED),
  };
}

function total(group: readonly { readonly samples: number }[]): number {
  return group.reduce((sum, { samples }) => sum + samples, 0);
}

function mostFirst<T extends { readonly samples: number }>(list: T[]): T[] {
  return list.sort((a, b) => b.samples - a.samples);
}

/** The distinct ones, the first few by name. */
function list(texts: readonly string[]): string {
  const all = distinct(texts);
  const more = all.length > MAX_NAMED ? ` and ${all.length - MAX_NAMED} more` : '';
  return `${all.slice(0, MAX_NAMED).join(', ')}${more}`;
}

function distinct(texts: readonly string[]): string[] {
  return [...new Set(texts)];
}
