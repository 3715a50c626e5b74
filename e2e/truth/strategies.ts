// SPDX-License-Identifier: Apache-2.0
import { STRATEGIES } from '../../packages/agent/src/session/strategy.ts';
import type { Strategy } from './recording.ts';

const wanted = process.env.PLUMBLINE_STRATEGIES?.split(',');

/** Those that the kernel of this machine has; $PLUMBLINE_STRATEGIES names fewer, e.g. `deferred,loop`. */
export const strategiesHere: readonly Strategy[] = STRATEGIES.filter(({ object }) => object() !== undefined)
  .map(({ name }) => name)
  .filter((name) => wanted?.includes(name) ?? true);
