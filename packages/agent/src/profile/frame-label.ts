// SPDX-License-Identifier: Apache-2.0
import type { FrameHandle } from './frame-table.ts';
import { NO_FUNCTION } from './function-table.ts';
import { NO_MAPPING } from './mapping-table.ts';
import type { Profile } from './profile.ts';
import { EMPTY_STRING } from './string-table.ts';

/**
 * What to call a frame where only a text will do: its function; otherwise file and address, `libc.so.6+0x2724a`;
 * otherwise the address.
 */
export function frameLabel(profile: Profile, frame: FrameHandle): string {
  const fn = profile.frames.function(frame);
  if (fn !== NO_FUNCTION) {
    const name = profile.functions.name(fn);
    if (name !== EMPTY_STRING) return profile.strings.get(name);
  }
  const address = `0x${profile.frames.address(frame).toString(16)}`;
  const mapping = profile.frames.mapping(frame);
  if (mapping === NO_MAPPING) return `[${address}]`;
  const { filename } = profile.mappings.get(mapping);
  return `${filename.slice(filename.lastIndexOf('/') + 1) || '?'}+${address}`;
}
