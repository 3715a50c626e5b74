// SPDX-License-Identifier: Apache-2.0
import type { Profile } from '../profile/profile.ts';
import { encodeOtlp, groupByResource, type OtlpOptions, type ResourceSamples } from './otlp.ts';

/** gRPC servers accept 4 MiB by default; this leaves room for headers. */
export const MAX_REQUEST_BYTES = 4_000_000;

export interface OtlpBatch {
  readonly payload: Uint8Array;
  /** Samples in it, by value: what was counted, not rows. */
  readonly samples: number;
  /** It is a single row and still exceeds the limit. */
  readonly isTooLarge: boolean;
}

/** A profile as requests below a limit: halved as often as needed, each half with the dictionary that it needs. */
export function* encodeOtlpBatches(
  profile: Profile,
  options: OtlpOptions = {},
  maxBytes = MAX_REQUEST_BYTES,
): Generator<OtlpBatch> {
  const pending: ResourceSamples[][] = [groupByResource(profile)];
  for (let resources = pending.pop(); resources; resources = pending.pop()) {
    const rows = resources.reduce((sum, { samples }) => sum + samples.length, 0);
    if (rows === 0) continue;
    const payload = encodeOtlp(profile, options, resources);
    if (payload.length > maxBytes && rows > 1) {
      const [first, second] = halve(resources, rows >> 1);
      pending.push(second, first);
      continue;
    }
    let samples = 0;
    for (const group of resources) for (const sample of group.samples) samples += profile.samples.value(sample);
    yield { payload, samples, isTooLarge: payload.length > maxBytes };
  }
}

function halve(resources: ResourceSamples[], rows: number): [ResourceSamples[], ResourceSamples[]] {
  const first: ResourceSamples[] = [];
  const second: ResourceSamples[] = [];
  let left = rows;
  for (const { resource, samples } of resources) {
    const head = samples.slice(0, left);
    const tail = samples.slice(left);
    if (head.length > 0) first.push({ resource, samples: head });
    if (tail.length > 0) second.push({ resource, samples: tail });
    left -= head.length;
  }
  return [first, second];
}
