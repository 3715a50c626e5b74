// SPDX-License-Identifier: Apache-2.0
import type { ImageMapping } from '../processes/process-image.ts';
import { MAPPING_NUMBERS, type MappedFile, NO_FILE, type WalkRequest } from './walk-request.ts';

export type AddressSpace = Pick<WalkRequest, 'mappings' | 'files'>;

/** The executable mappings of a process as the worker takes them. */
export function describeSpace(mappings: readonly ImageMapping[]): AddressSpace {
  const files = new Map<number, MappedFile>();
  const numbers: number[] = [];
  for (const { start, end, offset, executable } of mappings) {
    const last = numbers.length - MAPPING_NUMBERS;
    // JITs map page by page.
    if (!executable && last >= 0 && numbers[last + 1] === start && numbers[last + 3] === NO_FILE) {
      numbers[last + 1] = end;
      continue;
    }
    numbers.push(start, end, offset, executable?.id ?? NO_FILE);
    if (!executable || files.has(executable.id)) continue;
    const { id, fd, bytes } = executable;
    files.set(id, bytes ? { id, fd, bytes } : { id, fd });
  }
  return { mappings: Float64Array.from(numbers), files: [...files.values()] };
}
