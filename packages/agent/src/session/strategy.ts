// SPDX-License-Identifier: Apache-2.0
/** The strategies, best first, and what each needs of the kernel. */
export interface StrategyProgram {
  readonly name: 'loop' | 'tailCall';
  /** The program that a perf event fires. */
  readonly program: string;
  /** Programs that are loaded with it. */
  readonly programs: readonly string[];
}

export const STRATEGIES: readonly StrategyProgram[] = [
  { name: 'loop', program: 'sample_loop', programs: ['sample_loop'] },
  { name: 'tailCall', program: 'sample_tail_call', programs: ['sample_tail_call', 'walk_tail_call'] },
];

/** Names as users write them, by the number in `enum strategy`. */
export const STRATEGY_NAMES: readonly string[] = ['', 'tailCall', 'loop', 'deferred'];
