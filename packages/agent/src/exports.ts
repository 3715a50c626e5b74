// SPDX-License-Identifier: Apache-2.0
/** The destinations that a configuration names, and which rules' samples each receives. */
import { mkdirSync } from 'node:fs';
import { type NodeProfilingSpec, parseDuration } from '@plumbline/api';
import type { ResolvedSettings } from './config/agent-settings.ts';
import type { Exporter } from './export/exporter.ts';
import { OtlpSender } from './export/otlp-sender.ts';
import { resolveOtlpTarget } from './export/otlp-target.ts';
import { PprofDirectory } from './export/pprof-directory.ts';
import type { Logger } from './log.ts';

export interface Destination {
  readonly name: string;
  readonly exporter: OtlpSender | PprofDirectory;
  readonly markTruncated: boolean;
  readonly foldRecursion: boolean;
  /** Kernel policies (rule numbers from 1) whose samples go here. */
  readonly policies: ReadonlySet<number>;
  /** Destinations of equal key take the same profile. */
  readonly profileKey: string;
}

/** How long a destination that is no longer wanted may take to deliver what it has. */
const DRAIN_MS = 5_000;

export class Destinations {
  readonly #settings: ResolvedSettings;
  readonly #log: Logger;
  readonly #version: string;
  /** By name and content, so that what has not changed goes on undisturbed. */
  #open = new Map<string, Destination>();

  constructor(settings: ResolvedSettings, version: string, log: Logger) {
    this.#settings = settings;
    this.#version = version;
    this.#log = log;
  }

  get all(): readonly Destination[] {
    return [...this.#open.values()];
  }

  /** Makes the destinations those of the configuration. Throws AgentError for one that cannot be used. */
  async apply(spec: NodeProfilingSpec): Promise<void> {
    const next = new Map<string, Destination>();
    for (const wanted of spec.exports) {
      const policies = new Set(
        spec.rules.flatMap(({ exports }, index) => (!exports || exports.includes(wanted.name) ? [index + 1] : [])),
      );
      const key = JSON.stringify(wanted);
      const exporter = this.#open.get(key)?.exporter ?? (await this.#create(wanted));
      next.set(key, {
        name: wanted.name,
        exporter,
        markTruncated: wanted.markTruncated,
        foldRecursion: wanted.foldRecursion ?? false,
        policies,
        profileKey: `${wanted.markTruncated} ${[...policies].join()}`,
      });
    }
    const gone = [...this.#open].filter(([key]) => !next.has(key)).map(([, { exporter }]) => exporter);
    this.#open = next;
    for (const exporter of gone) void exporter.drain(DRAIN_MS);
  }

  async drain(deadlineMs: number): Promise<void> {
    await Promise.all(this.all.map(({ exporter }) => (exporter as Exporter).drain(deadlineMs)));
  }

  async #create({ name, otlp, pprof }: NodeProfilingSpec['exports'][number]): Promise<OtlpSender | PprofDirectory> {
    const log = this.#log.child({ component: 'export', export: name });
    if (pprof) return new PprofDirectory({ ...pprof, log });
    const target = resolveOtlpTarget(otlp ? { ...otlp, timeoutMs: parseDuration(otlp.timeout) } : {}, process.env);
    if (!target) throw new Error(`export ${name} has no endpoint`);
    const directory = `${this.#settings.spoolDirectory}/${name}`;
    let spool: { directory: string; maxBytes: number } | undefined;
    try {
      mkdirSync(directory, { recursive: true, mode: 0o700 });
      spool = { directory, maxBytes: this.#settings.spoolMaxBytes };
    } catch (error) {
      log.warn('no spool: profiles wait in memory only while the receiver is away', {
        directory,
        error: (error as Error).message,
      });
    }
    return OtlpSender.start({ target, spool, scopeVersion: this.#version, log });
  }
}
