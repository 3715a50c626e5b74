// SPDX-License-Identifier: Apache-2.0
import { textOf } from './arguments.ts';
import type { Arguments, Flag } from './command.ts';
import { usage } from './flag-values.ts';

/** How far back an agent is asked for what it remembers. */
export const SINCE_FLAG: Flag = {
  name: 'since',
  value: 'TIME',
  help: 'How far back: 30s, 5m. Default: all that agents remember, five minutes unless configured otherwise.',
};

/** In the form that agents take; undefined: all that they remember. */
export function readSince(args: Arguments): string | undefined {
  const since = textOf(args, 'since');
  if (since !== undefined && !/^0*[1-9][0-9]{0,5}(s|m|h)$/.test(since))
    throw usage(`--since ${JSON.stringify(since)} is not a duration`, 'write it as 30s, 5m or 1h');
  return since;
}
