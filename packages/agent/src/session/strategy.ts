// SPDX-License-Identifier: Apache-2.0
/** The strategies, the most capable first, and what each needs of the kernel. */
import { existsSync, readFileSync } from 'node:fs';
import type { Strategy } from '../recording-options.ts';

export interface StrategyProgram {
  readonly name: Strategy;
  /** The program that a perf event fires. */
  readonly program: string;
  /** Programs that are loaded with it. */
  readonly programs: readonly string[];
  /** Name of the object file that has them; undefined: the kernel lacks what they need, `lacks` says what. */
  readonly object: () => string | undefined;
  readonly lacks?: string;
}

export const STRATEGIES: readonly StrategyProgram[] = [
  {
    name: 'deferred',
    program: 'sample_deferred',
    programs: ['sample_deferred'],
    object: () =>
      kernelNames('bpf_task_work_schedule_resume')
        ? 'deferred'
        : kernelNames('bpf_task_work_schedule_resume_impl')
          ? 'deferred_impl'
          : undefined,
    lacks: 'the kernel has no function bpf_task_work_schedule_resume',
  },
  { name: 'loop', program: 'sample_loop', programs: ['sample_loop'], object: () => 'profiler' },
  {
    name: 'tailCall',
    program: 'sample_tail_call',
    programs: ['sample_tail_call', 'walk_tail_call'],
    object: () => 'profiler',
  },
];

/**
 * Strategies, best first. Strategy deferred can wait for memory that was paged out, and costs twice as much as loop on deep
 * stacks (docs/performance.md): where there is no swap, no stack is paged out, and loop is better.
 */
export function ladder(mayPageOut = hasSwap()): readonly StrategyProgram[] {
  if (mayPageOut) return STRATEGIES;
  const rank = ({ name }: StrategyProgram) => ['loop', 'deferred', 'tailCall'].indexOf(name);
  return STRATEGIES.toSorted((a, b) => rank(a) - rank(b));
}

const SWAPS = '/proc/swaps';

/** Whether the machine has swap in use: the file has a line for each, below its head. A kernel without swap has no such file. */
function hasSwap(): boolean {
  return existsSync(SWAPS) && readFileSync(SWAPS, 'utf8').trim().split('\n').length > 1;
}

/** Names as users write them, by the number in `enum strategy`. */
export const STRATEGY_NAMES: readonly string[] = ['', 'tailCall', 'loop', 'deferred'];

/** What was asked before; the BTF itself takes megabytes. */
const kernelNamesKnown = new Map<string, boolean>();

/** Whether a name is among those of the kernel's BTF: a function that programs may call, or a value of an enumeration. */
export function kernelNames(name: string): boolean {
  let isNamed = kernelNamesKnown.get(name);
  if (isNamed === undefined) {
    isNamed = readFileSync('/sys/kernel/btf/vmlinux').includes(`\0${name}\0`);
    kernelNamesKnown.set(name, isNamed);
  }
  return isNamed;
}
