// SPDX-License-Identifier: Apache-2.0
import { basename } from 'node:path';
import type { RunningFixture } from '../fixtures/start.ts';
import { addressOfOffset, functionsAt } from './elf-symbols.ts';
import { type ExecutableMapping, mappingOf } from './mappings.ts';

/** Where an address of a fixture's process lies. */
export interface Place {
  /** Path of the mapped file; undefined: no executable mapping. */
  readonly mapping?: string;
  /** In the fixture's own program: the address by the file's headers, and the functions there by its unstripped symbols. */
  readonly fileAddress?: bigint;
  readonly names?: readonly string[];
}

/**
 * Finds the place by /proc/PID/maps and binutils.
 * @param exact false for a return address, which belongs to the instruction before it
 */
export function placeOf(
  fixture: Pick<RunningFixture, 'imageName' | 'symbols'>,
  mappings: readonly ExecutableMapping[],
  address: bigint,
  exact: boolean,
): Place {
  const call = exact ? address : address - 1n;
  const mapping = mappingOf(mappings, call);
  if (!mapping) return {};
  const path = mapping.path.replace(/ \(deleted\)$/, '');
  if (path === '' || basename(path) !== fixture.imageName) return { mapping: path };
  const fileAddress = addressOfOffset(fixture.symbols, call - mapping.start + mapping.offset);
  if (fileAddress === undefined) return { mapping: path, names: [] };
  return { mapping: path, fileAddress, names: functionsAt(fixture.symbols, fileAddress) };
}
