// SPDX-License-Identifier: Apache-2.0
import type { FrameSymbolizer } from './pipeline.ts';
import type { ProcessImage } from './processes/process-image.ts';
import { rawFrameOf } from './raw-stack.ts';
import type { MismatchReport } from './recording-options.ts';
import type { Mismatch } from './recovery/verification.ts';

/** A walk that did not stand verification, and the image that it was of. */
export interface FoundMismatch {
  readonly mismatch: Mismatch;
  readonly image: ProcessImage;
}

/** Names the frames of both walks of each. */
export async function reportMismatches(
  found: readonly FoundMismatch[],
  symbolizer: FrameSymbolizer,
): Promise<MismatchReport[]> {
  const executables = found.flatMap(({ mismatch: { stack, addresses }, image }) =>
    [...stack.user, ...addresses].flatMap((address) => image.find(address)?.executable ?? []),
  );
  await symbolizer.prepare(new Set(executables), new Set(found.map(({ image }) => image)));
  return found.map(({ mismatch: { stack, addresses, flags, at, end }, image }) => ({
    pid: image.tgid,
    comm: image.comm,
    at,
    kernel: Array.from(stack.user, (address, i) => rawFrameOf(address, stack.userFlags[i], image, symbolizer)),
    agent: Array.from(addresses, (address, i) => rawFrameOf(address, flags[i], image, symbolizer)),
    agentEnd: end,
  }));
}
