// SPDX-License-Identifier: Apache-2.0
/** Compares a recorded stack frame by frame with what the program says of itself, or with an independent unwinder. */
import type { Recipe } from '../fixtures/recipes.ts';
import type { StackTruth } from '../fixtures/start.ts';
import type { UnwoundStack } from './eu-stack.ts';

/** A frame to be judged; `names` are all that are right for it, empty when nobody knows. */
export interface JudgedFrame {
  readonly address: bigint;
  readonly names: readonly string[];
  /** Path of the mapped file, if known. */
  readonly mapping?: string;
}

/** A function outside the program's own; `library` allows any name in that library, whose symbols may be missing. */
interface TailFrame {
  readonly names: readonly string[];
  readonly library?: RegExp;
}

const GLIBC = /\/(libc\.so\.6|libc-2\.\d+\.so)$/;
const MUSL = /\/(ld-musl-|libc\.musl-|libc\.so$)/;
const start: TailFrame = { names: ['_start'] };
const callMain: TailFrame = { names: ['__libc_start_call_main', '__libc_start_main'], library: GLIBC };
const startMain: TailFrame = { names: ['__libc_start_main', '__libc_start_main_impl'], library: GLIBC };
const muslMain: TailFrame = { names: ['libc_start_main_stage2', '__libc_start_main'], library: MUSL };
const muslClone: TailFrame = { names: ['__clone', 'clone'], library: MUSL };
const muslThread: TailFrame = { names: ['start', 'start_c11'], library: MUSL };

/** What may lie outside the program's outermost function, each a whole way to a root. */
const TAILS: Record<Recipe['libc'], Partial<Record<StackTruth['root'], readonly (readonly TailFrame[])[]>>> = {
  glibc: {
    main: [
      [callMain, startMain, start],
      [startMain, start], // before glibc 2.34
    ],
    thread: [
      [
        { names: ['start_thread'], library: GLIBC },
        { names: ['clone3', '__clone3', 'clone', '__clone'], library: GLIBC },
      ],
    ],
    context: [[{ names: ['__start_context'], library: GLIBC }]],
  },
  // Entry code without unwind information: known by its symbols or its place, so that the walk may end anywhere in it.
  musl: {
    main: [[muslMain], [muslMain, start]],
    thread: [[muslThread], [muslThread, muslClone]],
  },
  none: {},
};

/**
 * A name as both sides would write it: without symbol version, parameters, hash and the compiler's suffix for variants.
 * `shapes::Circle::visit(int) const` and `leaf.constprop.0` become `shapes::Circle::visit` and `leaf`.
 */
export function plainName(name: string): string {
  return name
    .replace(/@.*$/, '')
    .replace(/^__GI_/, '') // glibc's internal aliases
    .replace(/\[go\.shape\..*\]/, '[...]') // Go's own tables leave type arguments out
    .replace(/(\.(constprop|isra|part|cold|lto_priv|llvm|abi0|abiinternal)\b[.\d]*)+$/, '')
    .replace(/::h[0-9a-f]{16}$/, '')
    .replace(/( \[clone [^\]]*\])+$/, '')
    .replace(/\)( const)?( volatile)?$/, ')')
    .replace(/(?<!operator)\([^()]*(\([^()]*\)[^()]*)*\)$/, '');
}

function nameMatches(frame: JudgedFrame, expected: readonly string[]): boolean {
  const plain = expected.map(plainName);
  return frame.names.some((name) => plain.includes(plainName(name)));
}

/** Why `frame` is not the expected one; undefined when it is. */
function wrongFrame(frame: JudgedFrame, name: string | null, address: bigint | undefined): string | undefined {
  if (address !== undefined && frame.address !== address) {
    return `0x${frame.address.toString(16)} (${frame.names[0] ?? '?'}) instead of 0x${address.toString(16)} (${name ?? '?'})`;
  }
  const isNamed = name !== null && !name.startsWith('[') && frame.names.length > 0;
  if (isNamed && !nameMatches(frame, [name])) return `${frame.names[0]} instead of ${name}`;
  return undefined;
}

function isAbove(frame: JudgedFrame, above: Recipe['above']): boolean {
  return above === 'any' || frame.names.length === 0 || nameMatches(frame, above);
}

/** Number of frames inside the leaf, found as the first frame named like it that `matches`; -1: none. */
function findLeaf(
  stack: readonly JudgedFrame[],
  recipe: Pick<Recipe, 'above'>,
  matches: (at: number) => boolean,
): number {
  for (let at = 0; at < stack.length; at++) {
    if (matches(at)) return at;
    if (!isAbove(stack[at], recipe.above)) return -1;
  }
  return -1;
}

function wrongTail(
  tail: readonly JudgedFrame[],
  expected: readonly TailFrame[],
  first: bigint | undefined,
): string | undefined {
  for (const [i, frame] of tail.entries()) {
    const want = expected[i];
    if (!want) return `${frame.names[0] ?? frame.address.toString(16)} beyond the root`;
    if (i === 0 && first !== undefined && frame.address !== first) {
      return `0x${frame.address.toString(16)} instead of 0x${first.toString(16)}, the return address of the outermost function`;
    }
    const isInLibrary = want.library !== undefined && frame.mapping !== undefined && want.library.test(frame.mapping);
    if (frame.names.length > 0 && !nameMatches(frame, want.names) && !isInLibrary) {
      return `${frame.names[0]} instead of ${want.names.join(' or ')}`;
    }
  }
  return undefined;
}

/**
 * Judges one stack, leaf first. A whole stack must have every frame, from the leaf (or what it may call) to a root, and no
 * more; a cut one must be a correct beginning.
 * @returns what is wrong, undefined when nothing is
 */
export function compareWithTruth(
  stack: readonly JudgedFrame[],
  isWhole: boolean,
  truth: StackTruth,
  recipe: Pick<Recipe, 'libc' | 'above'>,
): string | undefined {
  const { names, returns, root } = truth;
  if (root === 'any') return undefined;
  const frameAt = (from: number) => {
    for (let i = 0; i < names.length && from + i < stack.length; i++) {
      const wrong = wrongFrame(stack[from + i], names[i], i > 0 ? returns[i - 1] : undefined);
      if (wrong !== undefined) return `frame ${from + i}: ${wrong}`;
    }
    return undefined;
  };
  const isLeaf = (at: number) => wrongFrame(stack[at], names[0], undefined) === undefined && stack[at].names.length > 0;
  // A function of the leaf's name may be among those that the leaf calls: the first place at which all fits counts.
  let at = findLeaf(stack, recipe, (i) => isLeaf(i) && frameAt(i) === undefined);
  if (at < 0 && stack.every((frame) => isAbove(frame, recipe.above))) {
    return isWhole ? 'no frame of the program itself' : undefined;
  }
  if (at < 0) {
    at = findLeaf(stack, recipe, isLeaf);
    return at < 0 ? `starts with ${stack[0]?.names[0] ?? 'nothing'} instead of ${names[0]}` : frameAt(at);
  }
  const tail = stack.slice(at + names.length);
  const alternatives = root === 'none' ? [[]] : (TAILS[recipe.libc][root] ?? []);
  const problems = alternatives.map((expected) => {
    const wrong = wrongTail(tail, expected, returns.length === names.length ? returns.at(-1) : undefined);
    if (wrong !== undefined) return `frame ${at + names.length}: ${wrong}`;
    const missing = at + names.length + expected.length - stack.length;
    return isWhole && missing > 0 ? `${missing} frames short of the root, last ${stack.at(-1)?.names[0]}` : undefined;
  });
  if (problems.length === 0) return `no way from ${root} to a root is known for ${recipe.libc}`;
  return problems.includes(undefined) ? undefined : problems[0];
}

/**
 * Compares a recorded stack with an independent unwinder's of the same moment: every address must be equal, the leaf's too.
 * Where one of the two gave up earlier, the shorter must be the beginning of the longer.
 * @returns what is wrong, undefined when nothing is
 */
export function compareWithUnwinder(
  stack: readonly JudgedFrame[],
  isWhole: boolean,
  reference: UnwoundStack,
): string | undefined {
  const frames = reference.frames;
  for (let i = 0; i < Math.min(stack.length, frames.length); i++) {
    if (stack[i].address !== frames[i].address) {
      const [mine, theirs] = [stack[i], frames[i]];
      const inside = i > 0 ? `, outside 0x${stack[i - 1].address.toString(16)} (${stack[i - 1].names[0] ?? '?'})` : '';
      return `frame ${i}: 0x${mine.address.toString(16)} (${mine.names[0] ?? '?'}) instead of 0x${theirs.address.toString(16)} (${theirs.name ?? '?'})${inside}`;
    }
  }
  const isReferenceWhole = reference.gaveUp === undefined;
  if (isWhole && stack.length < frames.length)
    return `ends ${frames.length - stack.length} frames before the reference`;
  if (isReferenceWhole && stack.length > frames.length)
    return `goes on ${stack.length - frames.length} frames beyond the reference`;
  return undefined;
}
