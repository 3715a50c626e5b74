// SPDX-License-Identifier: Apache-2.0
/** Which strategy walks: the one that was asked for, or the best that this kernel takes and that stands its self-test. */
import { BpfError, FEATURES } from '@plumbline/bpf';
import { AgentError } from './errors.ts';
import type { Strategy, StrategyChoice } from './recording-options.ts';
import { type SelfTestResult, selfTest } from './self-test.ts';
import { ladder } from './session/strategy.ts';

/** A better strategy that is not used. */
export interface RejectedStrategy {
  readonly strategy: Strategy;
  /** The kernel refuses it, or it was loaded and did not walk as it has to. */
  readonly cause: 'refused' | 'self_test';
  readonly detail: string;
}

export interface ChosenStrategy {
  readonly name: Strategy;
  /** Why this one. unproven: none has stood its self-test. */
  readonly why: 'requested' | 'best' | 'refused' | 'self_test' | 'unproven';
  /** What the self-test saw; undefined: it was not made. */
  readonly selfTest?: SelfTestResult;
  readonly rejected: readonly RejectedStrategy[];
  /** The best strategy that the kernel does not have, and the release that does. */
  readonly newer?: { readonly strategy: Strategy; readonly since: string };
}

/** Kernel releases that have what a strategy needs. */
const SINCE: Readonly<Record<Strategy, string>> = {
  deferred: FEATURES.taskWork.since,
  loop: FEATURES.loop.since,
  tailCall: FEATURES.ringBuffer.since,
};

let automatic: Promise<ChosenStrategy> | undefined;

/**
 * Tries the strategies, best first, once in the life of a process; takes some 100 ms for each.
 * @throws BpfError where not even the last one can be loaded, and for want of rights
 */
export function chooseStrategy(choice: StrategyChoice): Promise<ChosenStrategy> {
  if (choice !== 'auto') return Promise.resolve({ name: choice, why: 'requested', rejected: [] });
  automatic ??= choose(
    ladder().map(({ name }) => name),
    selfTest,
  ).catch((error) => {
    automatic = undefined; // the next may find other rights
    throw error;
  });
  return automatic;
}

/** The rule by itself: `test` throws a BpfError where the kernel refuses a strategy. */
export async function choose(
  candidates: readonly Strategy[],
  test: (strategy: Strategy) => Promise<SelfTestResult>,
): Promise<ChosenStrategy> {
  const rejected: RejectedStrategy[] = [];
  let refusal: unknown;
  let failed: SelfTestResult | undefined;
  for (const name of candidates) {
    let result: SelfTestResult;
    try {
      result = await test(name);
    } catch (error) {
      if (!(error instanceof BpfError) || !isRefusal(error)) throw error;
      refusal = error;
      rejected.push({ strategy: name, cause: 'refused', detail: AgentError.from(error).message });
      continue;
    }
    if (result.verdict === 'failed') {
      rejected.push({ strategy: name, cause: 'self_test', detail: result.detail });
      failed = result;
      continue;
    }
    const why = rejected.length === 0 ? 'best' : rejected.at(-1)!.cause;
    return { name, why, selfTest: result, rejected, ...newerOf(rejected) };
  }
  // Profiles of a doubtful strategy say of every stack what became of it; none at all would say nothing.
  const unproven = rejected.findLast(({ cause }) => cause === 'self_test');
  if (!unproven) throw refusal ?? new Error('no strategy to try');
  const others = rejected.filter((each) => each !== unproven);
  return { name: unproven.strategy, why: 'unproven', selfTest: failed, rejected: others, ...newerOf(rejected) };
}

function newerOf(rejected: readonly RejectedStrategy[]): Pick<ChosenStrategy, 'newer'> {
  const missing = rejected.find(({ cause }) => cause === 'refused');
  return missing ? { newer: { strategy: missing.strategy, since: SINCE[missing.strategy] } } : {};
}

/** Does the error say something about the strategy, and not about rights or the machine? */
function isRefusal({ verifierLog, code, libbpfLog }: BpfError): boolean {
  return verifierLog !== '' || code === 'UNSUPPORTED' || /ksym/.test(libbpfLog);
}

const WHY: Readonly<Record<ChosenStrategy['why'], string>> = {
  requested: 'asked for',
  best: 'the best for this machine',
  refused: 'the best that this kernel takes',
  self_test: 'better ones did not stand their self-test',
  unproven: 'none has stood its self-test',
};

/** The choice in words, for people: why this one, what its self-test saw, what a newer kernel has. */
export function describeChoice({ why, selfTest: test, newer }: ChosenStrategy): readonly [why: string, ...string[]] {
  return [
    WHY[why],
    ...(test ? [`self-test ${test.verdict}: ${test.detail}`] : []),
    ...(newer ? [`Linux ${newer.since} or newer has ${newer.strategy}`] : []),
  ];
}
