// SPDX-License-Identifier: Apache-2.0
/** Judges what was recorded of a fixture: a stack is whole and right, or it is cut, says why, and is right as far as it goes. */
import assert from 'node:assert/strict';
import type { Recipe } from '../fixtures/recipes.ts';
import type { StackTruth } from '../fixtures/start.ts';
import { compareWithTruth, type JudgedFrame, plainName } from './compare.ts';
import { placeOf } from './fixture-place.ts';
import type { Observed } from './observe.ts';
import type { RecordedStack, Strategy } from './recording.ts';

/** Wanted of each fixture; they take turns, and other processes run too. */
const FEWEST_SAMPLES = 1;

const hex = (value: bigint | undefined) => (value === undefined ? '?' : `0x${value.toString(16)}`);

/** Judges names by the program's symbols where it is the program's own code, and the profiler's name by the same. */
export function judgedFrames({ fixture, mappings }: Observed, stack: RecordedStack): JudgedFrame[] {
  const isStripped = fixture.symbols.endsWith('.symbols');
  return stack.user.map(({ address, exact, name, fileAddress }, i) => {
    const place = placeOf(fixture, mappings.get(stack.pid) ?? [], address, exact);
    if (place.names === undefined) return { address, names: name === undefined ? [] : [name], mapping: place.mapping };
    if (place.fileAddress !== undefined && fileAddress !== undefined) {
      assert.equal(hex(fileAddress), hex(place.fileAddress), `frame ${i}: its address in the file`);
    }
    if (!isStripped && place.names.length > 0) {
      const isRight = place.names.some((own) => plainName(own) === plainName(name ?? ''));
      assert.ok(isRight, `frame ${i}, ${hex(address)}: named ${name} instead of ${place.names.join(' or ')}`);
    }
    return { address, names: place.names, mapping: place.mapping };
  });
}

function assertOutcome(stack: RecordedStack, frames: readonly JudgedFrame[], recipe: Recipe, strategy: Strategy): void {
  const { outcome, reason, failingPc } = stack;
  const { expect } = recipe;
  const description = `${outcome} (${reason}) after ${frames.length} frames, last ${frames.at(-1)?.names[0]}, at ${hex(failingPc)}`;
  if (outcome === 'complete' || outcome === 'recovered') {
    assert.match(reason, outcome === 'complete' ? /^root_/ : /^recovered$/);
    assert.notEqual(expect.outcome, 'truncated', description);
    return;
  }
  assert.equal(outcome, 'truncated', description);
  if (strategy === 'tailCall' && reason === 'tail_call_limit') return;
  assert.ok(strategy !== 'deferred' || !recipe.waits, description);
  assert.ok(expect.outcome !== 'complete' && expect.reasons.includes(reason), description);
  if (expect.outcome === 'truncated') assert.ok(frames.length <= 1, description);
}

/** Go's runtime preempts goroutines by a signal: a stack may begin in its handler, and the account with what was interrupted. */
export function withoutPreemption(frames: readonly JudgedFrame[], leaf: string): readonly JudgedFrame[] {
  const first = frames.findIndex(({ names }) => names.includes(leaf));
  const caller = frames[first - 1]?.names ?? [];
  const isPreempted = caller.some((name) => /^runtime\.(sigreturn__sigaction|asyncPreempt)/.test(name));
  return isPreempted ? frames.slice(first) : frames;
}

/** The account that a stack has to agree with; a goroutine's is the one of all that fits best. */
function wrongFrames(
  stack: RecordedStack,
  frames: readonly JudgedFrame[],
  truths: readonly StackTruth[],
  recipe: Recipe,
): string | undefined {
  const isWhole = stack.outcome !== 'truncated';
  const ofThread = truths.filter(({ pid, tid }) => pid === stack.pid && (tid === 0 || tid === stack.tid));
  const problems = ofThread.map((truth) => {
    // A goroutine's thread runs other things too, and so does a program on its way to the leaf: they only have to reach a root.
    const mayBeElsewhere = truth.tid === 0 || recipe.trigger === true;
    const isOther = mayBeElsewhere && !frames.some(({ names }) => names.includes(truth.names[0]!));
    if (isOther) return undefined;
    const ofAccount = truth.tid === 0 ? withoutPreemption(frames, truth.names[0]!) : frames;
    return compareWithTruth(ofAccount, isWhole, truth, recipe);
  });
  return problems.length === 0 || problems.includes(undefined) ? undefined : problems[0];
}

/**
 * @returns how much was seen, in words
 * @throws AssertionError on the first stack that is not as it has to be
 */
export function judge(observed: Observed, strategy: Strategy): string {
  const { fixture, stacks } = observed;
  const samples = stacks.reduce((sum, { count }) => sum + count, 0);
  assert.ok(samples >= FEWEST_SAMPLES, 'no sample');
  let whole = 0;
  for (const stack of stacks.filter(({ outcome }) => outcome !== 'kernel_only')) {
    const frames = judgedFrames(observed, stack);
    const wrong = wrongFrames(stack, frames, fixture.stacks, fixture.recipe);
    const shown = frames
      .slice(0, 8)
      .map(({ address, names }) => `${hex(address)} ${names[0] ?? '?'}`)
      .join(' < ');
    assert.equal(wrong, undefined, `${wrong} [${stack.outcome}, ${stack.reason}; ${frames.length} frames: ${shown}]`);
    assertOutcome(stack, frames, fixture.recipe, strategy);
    if (stack.outcome !== 'truncated') whole += stack.count;
  }
  if (fixture.recipe.expect.outcome === 'settling' && strategy !== 'tailCall') {
    assert.ok(whole * 2 >= samples, `${whole} of ${samples} samples whole`);
  }
  return `${samples} samples, ${stacks.length} stacks`;
}
