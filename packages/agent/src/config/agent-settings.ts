// SPDX-License-Identifier: Apache-2.0
/**
 * Settings of the agent process itself, which are no matter of the cluster: key `agent` of a configuration file. They are
 * read once, at start.
 */
import { Duration, parseDuration } from '@plumbline/api';
import { z } from 'zod';
import { LOG_LEVELS } from '../log.ts';

const SIZE_UNITS: Readonly<Record<string, number>> = { Ki: 2 ** 10, Mi: 2 ** 20, Gi: 2 ** 30 };

const Size = z
  .string()
  .max(16)
  .regex(/^[1-9][0-9]{0,6}(Ki|Mi|Gi)$/, { error: 'must be a size such as 64Mi or 1Gi' });

const AbsolutePath = z.string().min(1).max(1024).regex(/^\//, { error: 'must be an absolute path' });

export const DEFAULT_LISTEN = '127.0.0.1:7117';
export const DEFAULT_STATE_DIRECTORY = '/var/lib/plumbline';

export const AgentSettings = z
  .object({
    listen: z
      .string()
      .max(260)
      .regex(/^(off|(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]*):[0-9]{1,5})$/, {
        error: 'must be host:port, such as 127.0.0.1:7117 or :7117 for all addresses, or off',
      })
      .refine((text) => Number(/[0-9]+$/.exec(text)?.[0] ?? 0) <= 65_535, { error: 'has a port above 65535' })
      .default(DEFAULT_LISTEN)
      .describe(
        'Address of the HTTP server: metrics, health, and the page with the last minutes. Port 0 takes a free one.',
      ),
    logLevel: z.enum(LOG_LEVELS).default('info').describe('Least important messages that are written.'),
    stateDirectory: AbsolutePath.default(DEFAULT_STATE_DIRECTORY).describe(
      'Folder for the last good configuration, what is usual for each workload, and the spool. The agent runs without it where it cannot be written, and says so.',
    ),
    spool: z
      .object({
        directory: AbsolutePath.optional().describe('Absent: `spool` in the state directory.'),
        maxSize: Size.default('256Mi').describe(
          'Profiles that could not be sent wait here; beyond it the oldest are dropped and counted.',
        ),
      })
      .prefault({})
      .describe('Profiles on disk while a receiver is away.'),
    recentProfiles: Duration.default('5m').describe('How much the page of the HTTP server remembers; at most 1h.'),
    metrics: z
      .object({
        maxWorkloadSeries: z
          .int()
          .min(100)
          .max(100_000)
          .default(4000)
          .describe(
            'Most series by workload at /metrics: twelve for each container of a workload. Further ones are counted together as `other`.',
          ),
      })
      .prefault({})
      .describe('Bounds of what /metrics shows.'),
    profileSelf: z.boolean().default(false).describe('Profile the agent itself too.'),
  })
  .describe('Settings of the agent process. Changes take effect when it is started anew.');

export type AgentSettings = z.output<typeof AgentSettings>;

export interface ListenAddress {
  /** Empty: all addresses. */
  readonly host: string;
  readonly port: number;
}

/** Settings as the agent uses them: numbers, full paths. */
export interface ResolvedSettings {
  readonly listen: ListenAddress | undefined;
  readonly logLevel: (typeof LOG_LEVELS)[number];
  readonly stateDirectory: string;
  readonly spoolDirectory: string;
  readonly spoolMaxBytes: number;
  readonly recentProfilesMs: number;
  readonly profileSelf: boolean;
  readonly maxWorkloadSeries: number;
}

const MAX_RECENT_MS = 3_600_000;

export function resolveSettings(settings: AgentSettings): ResolvedSettings {
  return {
    listen: parseListen(settings.listen),
    logLevel: settings.logLevel,
    stateDirectory: settings.stateDirectory,
    spoolDirectory: settings.spool.directory ?? `${settings.stateDirectory.replace(/\/$/, '')}/spool`,
    spoolMaxBytes: parseSize(settings.spool.maxSize),
    recentProfilesMs: Math.min(MAX_RECENT_MS, parseDuration(settings.recentProfiles)),
    profileSelf: settings.profileSelf,
    maxWorkloadSeries: settings.metrics.maxWorkloadSeries,
  };
}

/** `host:port`, `[::1]:port`, `:port`; `off` is undefined. */
export function parseListen(text: string): ListenAddress | undefined {
  if (text === 'off') return undefined;
  const colon = text.lastIndexOf(':');
  return { host: text.slice(0, colon).replace(/^\[|\]$/g, ''), port: Number(text.slice(colon + 1)) };
}

/** Bytes of `64Mi`. */
export function parseSize(text: string): number {
  return Number.parseInt(text, 10) * SIZE_UNITS[text.slice(-2)];
}
