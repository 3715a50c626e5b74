// SPDX-License-Identifier: Apache-2.0
import { AgentError } from '../../errors.ts';
import type { OutputStream, Paint } from '../terminal.ts';
import type { Answers } from './cluster.ts';

const MAX_SHOWN = 5;

/** Says on standard error which agents did not answer. Throws where none did. */
export function reportSilent({ answers, silent }: Answers<unknown>, stderr: OutputStream, paint: Paint): void {
  if (silent.length === 0) return;
  if (answers.length === 0)
    throw new AgentError('agent_unreachable', `none of ${silent.length} agents answers: ${silent[0].why}`);
  for (const { node, why } of silent.slice(0, MAX_SHOWN))
    stderr.write(`${paint('yellow', 'missing:')} the agent of ${node} does not answer: ${why}\n`);
  if (silent.length > MAX_SHOWN) stderr.write(`${paint('yellow', 'missing:')} and ${silent.length - MAX_SHOWN} more\n`);
}
