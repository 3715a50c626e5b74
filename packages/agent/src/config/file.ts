// SPDX-License-Identifier: Apache-2.0
/** Configuration from a file that is watched: `plumbline agent --config FILE`. */
import { type FSWatcher, readFileSync, watch } from 'node:fs';
import { basename, dirname, resolve } from 'node:path';
import type { Clock } from '../clock.ts';
import { AgentError } from '../errors.ts';
import type { Logger } from '../log.ts';
import type { AgentSettings } from './agent-settings.ts';
import { type ConfigDocument, parseConfigDocument } from './document.ts';
import { LastGoodConfig } from './last-good.ts';
import { Newest } from './newest.ts';
import type { ConfigSource, EffectiveConfig } from './source.ts';

/** Reads and validates. Throws an AgentError of code `config_unreadable` or `config_invalid`. */
export function loadConfigFile(path: string): ConfigDocument {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    const reason = code === 'ENOENT' ? 'no such file' : code === 'EISDIR' ? 'is a directory' : message;
    throw new AgentError('config_unreadable', `cannot read ${path}: ${reason}`, 'check --config', { cause });
  }
  return parseConfigDocument(text, path);
}

export interface FileConfigOptions {
  readonly path: string;
  /** Where the last good configuration is kept. */
  readonly stateDirectory: string;
  /** Settings that the agent started with, to tell of changes that need a new start; undefined where the file had none to read. */
  readonly settings?: AgentSettings;
  readonly log: Logger;
  readonly clock: Clock;
}

/** Editors write in several steps, and a ConfigMap mount renames a link: wait until it is quiet. */
const SETTLE_MS = 100;
/** Where the file system does not tell of changes. */
const POLL_MS = 10_000;

export class FileConfigSource implements ConfigSource {
  readonly #options: FileConfigOptions;
  readonly #lastGood: LastGoodConfig;
  readonly #newest = new Newest<EffectiveConfig>();
  #hash: string | undefined;
  #problem: AgentError | undefined;
  #settle: NodeJS.Timeout | undefined;
  #changedSettings = '';

  constructor(options: FileConfigOptions) {
    this.#options = { ...options, path: resolve(options.path) };
    this.#lastGood = new LastGoodConfig(options.stateDirectory, `file ${this.#options.path}`);
  }

  get problem(): AgentError | undefined {
    return this.#problem;
  }

  async *configs(signal: AbortSignal): AsyncGenerator<EffectiveConfig> {
    const watcher = this.#watch();
    const stopPolling = this.#options.clock.every(POLL_MS, () => this.reload());
    try {
      this.reload();
      if (this.#hash === undefined) this.#startFromLastGood();
      yield* this.#newest.values(signal);
    } finally {
      watcher?.close();
      stopPolling();
      clearTimeout(this.#settle);
    }
  }

  /** Reads the file now, as on SIGHUP. A bad file is logged and remembered as `problem`; what was in force stays so. */
  reload(): void {
    const { path, log } = this.#options;
    try {
      const { spec, settings } = loadConfigFile(path);
      this.#problem = undefined;
      this.#compareSettings(settings);
      if (spec.configHash === this.#hash) return;
      this.#hash = spec.configHash;
      this.#newest.put({ spec, origin: `file ${path}` });
    } catch (thrown) {
      const error = AgentError.from(thrown);
      // A file that stays bad is looked at again and again, but reported once.
      if (error.message !== this.#problem?.message && this.#hash !== undefined) {
        log.error('configuration refused, the one before stays in force', { error });
      }
      this.#problem = error;
    }
  }

  applied({ spec }: EffectiveConfig): void {
    try {
      this.#lastGood.save(spec);
    } catch (thrown) {
      this.#options.log.warn('last good configuration not kept', { error: AgentError.from(thrown) });
    }
  }

  refused(_config: EffectiveConfig, error: AgentError): void {
    this.#problem = error;
  }

  #compareSettings(settings: AgentSettings): void {
    const known = this.#options.settings;
    if (known === undefined) return;
    const keys = Object.keys(settings) as (keyof AgentSettings)[];
    const changed = keys.filter((key) => JSON.stringify(settings[key]) !== JSON.stringify(known[key]));
    if (changed.join() === this.#changedSettings) return;
    this.#changedSettings = changed.join();
    if (changed.length > 0) this.#options.log.warn('settings changed that need a restart', { changed });
  }

  #startFromLastGood(): void {
    const problem = this.#problem as AgentError;
    const config = this.#lastGood.load();
    if (config === undefined) throw problem;
    this.#options.log.error('configuration refused, starting with the last good one', { error: problem });
    this.#hash = config.spec.configHash;
    this.#newest.put(config);
  }

  /** The folder is watched, not the file: editors and Kubernetes replace it. */
  #watch(): FSWatcher | undefined {
    const { path, log } = this.#options;
    const names = [basename(path), '..data']; // `..data` is the link that a ConfigMap mount renames
    try {
      const watcher = watch(dirname(path), { persistent: false }, (_event, name) => {
        if (name !== null && !names.includes(name)) return;
        clearTimeout(this.#settle);
        this.#settle = setTimeout(() => this.reload(), SETTLE_MS);
      });
      watcher.on('error', () => watcher.close()); // the folder was removed; polling goes on
      return watcher;
    } catch (error) {
      log.debug('configuration folder cannot be watched, polling', { error });
      return undefined;
    }
  }
}
