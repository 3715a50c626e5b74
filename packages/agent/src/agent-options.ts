// SPDX-License-Identifier: Apache-2.0
/** The contract between `cli/agent.ts`, which reads flags and the configuration, and `agent.ts`, which runs until stopped. */
import type { Clock } from './clock.ts';
import type { ResolvedSettings } from './config/agent-settings.ts';
import type { ConfigSource } from './config/source.ts';
import type { Logger } from './log.ts';

export interface AgentOptions {
  readonly source: ConfigSource;
  readonly settings: ResolvedSettings;
  readonly log: Logger;
  readonly clock: Clock;
  /** Ends the agent: sampling stops, what was sampled is sent or spooled, then `runAgent` resolves. */
  readonly stop: AbortSignal;
  readonly version: string;
}

/** The shape of `runAgent` in `agent.ts`. Rejects with an AgentError when profiling cannot start. */
export type RunAgentFunction = (options: AgentOptions) => Promise<void>;
