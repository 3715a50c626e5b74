// SPDX-License-Identifier: Apache-2.0
/**
 * Where a configuration comes from, as the agent sees it: a stream of effective configurations, and a way to say what
 * became of each. A file (`file.ts`) and the node's object in a cluster are sources.
 */
import type { NodeProfilingSpec } from '@plumbline/api';
import type { AgentError } from '../errors.ts';

export interface EffectiveConfig {
  /** `spec.configHash` tells configurations apart. */
  readonly spec: NodeProfilingSpec;
  /** For people: `file /etc/plumbline/node.yaml`, `last good configuration of ...`. */
  readonly origin: string;
}

export interface ConfigSource {
  /**
   * The configuration to be in force, then each that replaces it; neighbours have different hashes. A reader that is slow
   * skips to the newest. Configurations that do not fit the schema never appear here: the last good one stays. Ends when
   * `signal` aborts. Throws an AgentError when there is no configuration to start with. To be read once.
   */
  configs(signal: AbortSignal): AsyncIterable<EffectiveConfig>;
  /** The agent runs with it. The source remembers it as the last good one. */
  applied(config: EffectiveConfig): void;
  /** The agent could not apply it and goes on with the one before. */
  refused(config: EffectiveConfig, error: AgentError): void;
  /** Why the newest configuration is not in force; undefined when it is. */
  readonly problem: AgentError | undefined;
}
