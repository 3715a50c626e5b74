// SPDX-License-Identifier: Apache-2.0
import type { FrameSymbolizer } from './pipeline.ts';
import type { ProcessImage } from './processes/process-image.ts';
import type { RawFrame, RawStack, Strategy } from './recording-options.ts';
import type { StackCount } from './samples/aggregate.ts';
import { BY_POINTER, EXACT, outcomeNames, reasonNames, type Stack } from './samples/decode.ts';
import { STRATEGY_NAMES } from './session/strategy.ts';

/** A counted stack as `--format raw` shows it: one for each thread that had it. */
export function rawStacks(
  { stack, threads }: StackCount,
  image: ProcessImage | undefined,
  symbolizer: FrameSymbolizer,
): RawStack[] {
  const user = Array.from(stack.user, (_, index) => rawFrame(stack, index, image, symbolizer));
  const kernel = Array.from(stack.kernel, (address) => ({
    address,
    name: symbolizer.inKernel(address).lines[0]?.name,
  }));
  return [...threads].map(([tid, { comm, count }]) => ({
    pid: stack.tgid,
    tid,
    comm,
    count,
    outcome: outcomeNames[stack.reason] ?? 'truncated',
    reason: reasonNames[stack.reason] ?? 'internal_error',
    strategy: STRATEGY_NAMES[stack.strategy] as Strategy,
    steps: stack.steps,
    ...(stack.spliced > 0 ? { spliced: stack.spliced } : {}),
    tailCalls: stack.tailCalls,
    ...(stack.failingPc > 0 ? { failingPc: BigInt(stack.failingPc) } : {}),
    kernel,
    user,
    ...(stack.elided > 0 ? { elided: { at: stack.elidedAt, count: stack.elided } } : {}),
  }));
}

function rawFrame(stack: Stack, index: number, image: ProcessImage | undefined, symbolizer: FrameSymbolizer): RawFrame {
  return rawFrameOf(stack.user[index], stack.userFlags[index], image, symbolizer);
}

/** A frame by its address and its flags (EXACT, BY_POINTER). */
export function rawFrameOf(
  address: number,
  flags: number,
  image: ProcessImage | undefined,
  symbolizer: FrameSymbolizer,
): RawFrame {
  const exact = (flags & EXACT) !== 0;
  const byPointer = (flags & BY_POINTER) !== 0;
  const call = exact ? address : address - 1;
  const place = image?.locate(call);
  const frame: RawFrame = { address: BigInt(address), exact, byPointer };
  if (!image || !place) return frame;
  const { executable, path } = place.mapping;
  const named =
    executable && place.fileAddress !== undefined
      ? symbolizer.inFile(executable, place.fileAddress)
      : symbolizer.inMemory(image, call);
  return {
    ...frame,
    file: path,
    fileOffset: BigInt(place.fileOffset),
    ...(place.fileAddress === undefined ? {} : { fileAddress: BigInt(place.fileAddress) }),
    ...(executable?.buildIds.gnu ? { buildId: executable.buildIds.gnu } : {}),
    name: named.lines.at(-1)?.name,
  };
}
