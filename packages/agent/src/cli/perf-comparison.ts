// SPDX-License-Identifier: Apache-2.0
/**
 * Compares stacks with those that perf took of the same processes at the same time. Not the same samples: what is compared is
 * how often each call site is on the stack. Two samplers of one program differ there by chance alone, which is known. Pure.
 */
import type { RawStack } from '../recording-options.ts';

/** One sample: frames of user space, leaf first. */
export type SiteStack = readonly string[];

/** Frames next to the leaf that are compared; perf copies so much stack that it nearly always has them. */
const INNERMOST = 32;
/** Share of samples from which a call site is compared. */
const NOTABLE = 0.05;
/** Samples below which chance decides. */
const ENOUGH = 30;
/** What two windows that do not begin and end at the same moment may differ by, besides chance (in standard deviations). */
const SLACK = 0.03;
const DEVIATIONS = 4;

export type PerfVerdict = 'agree' | 'differ' | 'undecided';

export interface SiteDifference {
  /** File and offset of the call. */
  readonly site: string;
  /** Share of the samples that have it. */
  readonly plumbline: number;
  readonly perf: number;
}

export interface PerfComparison {
  readonly verdict: PerfVerdict;
  readonly samples: { readonly plumbline: number; readonly perf: number };
  /** Frames of user space, on average. */
  readonly depth: { readonly plumbline: number; readonly perf: number };
  /** Share of samples that end where complete stacks of ours end. */
  readonly rooted: { readonly plumbline: number; readonly perf: number };
  /** Call sites that were compared, and the largest difference among them. */
  readonly sites: number;
  readonly largestDifference: number;
  /** Those that chance does not explain. */
  readonly differences: readonly SiteDifference[];
}

export interface CountedStack {
  readonly sites: SiteStack;
  readonly count: number;
  readonly complete: boolean;
}

/** Stacks of ours as call sites. */
export function sitesOf(stacks: Iterable<RawStack>): CountedStack[] {
  const counted: CountedStack[] = [];
  for (const { user, count, outcome } of stacks) {
    if (outcome !== 'complete' && outcome !== 'recovered' && outcome !== 'truncated') continue;
    const sites = user.map(({ file = '', fileOffset = 0n }) => siteName(file, fileOffset));
    counted.push({ sites, count, complete: outcome !== 'truncated' });
  }
  return counted;
}

/** Memory without a file, a JIT's say, has no offsets that mean the same to both. */
export function siteName(file: string, offset: bigint): string {
  return file.startsWith('/') || file === '[vdso]' ? `${file}+0x${offset.toString(16)}` : '[anonymous]';
}

export function comparePerf(ours: readonly CountedStack[], perf: readonly SiteStack[]): PerfComparison {
  const theirs = perf.map((sites) => ({ sites, count: 1, complete: false }));
  const roots = new Set(ours.filter(({ complete }) => complete).map(({ sites }) => sites.at(-1)));
  const rooted = (stacks: readonly CountedStack[]) => share(stacks, ({ sites }) => roots.has(sites.at(-1)));
  const samples = { plumbline: total(ours), perf: perf.length };
  const [a, b] = [inclusiveShares(ours), inclusiveShares(theirs)];
  let sites = 0;
  let largestDifference = 0;
  const differences: SiteDifference[] = [];
  for (const site of new Set([...a.keys(), ...b.keys()])) {
    const [p, q] = [a.get(site) ?? 0, b.get(site) ?? 0];
    if (Math.max(p, q) < NOTABLE) continue;
    sites++;
    largestDifference = Math.max(largestDifference, Math.abs(p - q));
    const mean = (p * samples.plumbline + q * samples.perf) / (samples.plumbline + samples.perf);
    const deviation = Math.sqrt(mean * (1 - mean) * (1 / samples.plumbline + 1 / samples.perf));
    if (Math.abs(p - q) > SLACK + DEVIATIONS * deviation) differences.push({ site, plumbline: p, perf: q });
  }
  differences.sort((x, y) => Math.abs(y.plumbline - y.perf) - Math.abs(x.plumbline - x.perf));
  const enough = Math.min(samples.plumbline, samples.perf) >= ENOUGH && sites > 0;
  return {
    verdict: !enough ? 'undecided' : differences.length > 0 ? 'differ' : 'agree',
    samples,
    depth: { plumbline: meanDepth(ours), perf: meanDepth(theirs) },
    rooted: { plumbline: rooted(ours), perf: rooted(theirs) },
    sites,
    largestDifference,
    differences,
  };
}

/** How often each call site is among the innermost callers. The leaf is none: it is wherever the program was. */
function inclusiveShares(stacks: readonly CountedStack[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const { sites, count } of stacks)
    for (const site of new Set(sites.slice(1, 1 + INNERMOST))) counts.set(site, (counts.get(site) ?? 0) + count);
  const all = total(stacks);
  return new Map([...counts].map(([site, count]) => [site, count / all]));
}

function total(stacks: readonly CountedStack[]): number {
  return stacks.reduce((sum, { count }) => sum + count, 0);
}

function share(stacks: readonly CountedStack[], holds: (stack: CountedStack) => boolean): number {
  const all = total(stacks);
  return all === 0 ? 0 : total(stacks.filter(holds)) / all;
}

function meanDepth(stacks: readonly CountedStack[]): number {
  const all = total(stacks);
  return all === 0 ? 0 : stacks.reduce((sum, { sites, count }) => sum + sites.length * count, 0) / all;
}
