// SPDX-License-Identifier: Apache-2.0
/** The last configuration that worked, on disk: so that an agent that starts without its source, or with a bad one, still profiles. */
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type NodeProfilingSpec, parseNodeProfilingSpec } from '@plumbline/api';
import { AgentError } from '../errors.ts';
import type { EffectiveConfig } from './source.ts';

const FILE_NAME = 'last-good-config.json';
/** Of the file's own layout, not of the configuration. */
const LAYOUT = 1;

export class LastGoodConfig {
  readonly path: string;
  readonly #directory: string;
  readonly #source: string;

  /** @param source what the configuration was read from; a configuration of another source is not taken. */
  constructor(stateDirectory: string, source: string) {
    this.#directory = stateDirectory;
    this.#source = source;
    this.path = join(stateDirectory, FILE_NAME);
  }

  /** Undefined where there is none, or it is of another source, or it no longer fits the schema. */
  load(): EffectiveConfig | undefined {
    try {
      const { layout, source, spec } = JSON.parse(readFileSync(this.path, 'utf8')) as Record<string, unknown>;
      if (layout !== LAYOUT || source !== this.#source) return undefined;
      return { spec: parseNodeProfilingSpec(spec), origin: `last good configuration of ${this.#source}` };
    } catch {
      return undefined;
    }
  }

  /** Throws an AgentError where the folder cannot be written; the agent goes on without. */
  save(spec: NodeProfilingSpec): void {
    const partial = `${this.path}.partial`;
    try {
      mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
      writeFileSync(partial, JSON.stringify({ layout: LAYOUT, source: this.#source, spec }), { mode: 0o600 });
      renameSync(partial, this.path);
    } catch (cause) {
      const message = `cannot keep the last good configuration: ${(cause as Error).message}`;
      throw new AgentError('output_unwritable', message, 'set agent.stateDirectory to a folder that may be written', {
        cause,
      });
    }
  }
}
