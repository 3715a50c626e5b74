// SPDX-License-Identifier: Apache-2.0
/** The kernels of the matrix, oldest first, and what is promised on each. One list of truth. */
import type { FeatureName } from '@plumbline/bpf';
import type { Strategy } from '../truth/recording.ts';

export interface Kernel {
  /** Leading numbers of its release, e.g. `6.1` for 6.1.176. */
  readonly series: string;
  /** Suite of Debian that has it. */
  readonly suite: string;
  /** Packages that are it, by name, for the newest to be taken. */
  readonly packages: RegExp;
  /** Strategies that must load; the first is the one that `auto` must choose. */
  readonly strategies: readonly Strategy[];
}

export const KERNELS: readonly Kernel[] = [
  debian('5.10', 'bullseye', ['tailCall']),
  debian('6.1', 'bookworm', ['loop', 'tailCall']),
  debian('6.12', 'trixie', ['loop', 'tailCall']),
  debian('7.2', 'sid', ['loop', 'deferred', 'tailCall']), // guests have no swap
];

/** Debian's names: `linux-image-5.10.0-32-amd64` of old, `linux-image-6.12.117+deb13-amd64` since trixie. */
function debian(series: string, suite: string, strategies: readonly Strategy[]): Kernel {
  const packages = new RegExp(`^linux-image-${series.replaceAll('.', '\\.')}\\.\\d+(\\+deb\\d+|-\\d+)-amd64$`);
  return { series, suite, packages, strategies };
}

/** Compares releases of kernels by their numbers, e.g. `5.9` before `5.10`. */
export function compareReleases(a: string, b: string): number {
  const [left, right] = [a, b].map((release) => release.split('.').map(Number));
  for (let i = 0; i < Math.max(left.length, right.length); i++) {
    const difference = (left[i] ?? 0) - (right[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

/** Features that a kernel is documented to have, from the table of features. */
export function documentedFeatures(
  series: string,
  table: Readonly<Record<FeatureName, { readonly since: string }>>,
): FeatureName[] {
  const names = Object.keys(table) as FeatureName[];
  return names.filter((name) => compareReleases(table[name].since, series) <= 0);
}
