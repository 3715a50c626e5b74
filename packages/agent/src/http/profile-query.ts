// SPDX-License-Identifier: Apache-2.0
/** What `/api/profile`, `/api/flame`, `/api/workloads` and `/api/explain` may be asked for. Query parameters are text from anywhere. */
import { AgentError } from '../errors.ts';
import { nearest } from '../nearest-word.ts';
import { ATTRIBUTE } from '../profile/attribute-names.ts';
import type { AttributeValue } from '../profile/attribute-table.ts';
import { workloadNameOf } from '../profile/workload-name.ts';
import type { Selection } from './recent-profiles.ts';

export const PROFILE_FORMATS = ['folded', 'pprof', 'json'] as const;
export type ProfileFormat = (typeof PROFILE_FORMATS)[number];

export interface ProfileQuery extends Selection {
  readonly format: ProfileFormat;
  readonly workload?: string;
  readonly pid?: string;
}

const PARAMETERS = ['since', 'format', 'pid', 'container', 'workload'];
const UNITS: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000 };

/** @throws AgentError of code `usage` */
export function readProfileQuery(query: Readonly<Record<string, unknown>>, windowMs: number): ProfileQuery {
  const text = (name: string): string | undefined => {
    const value = query[name];
    if (value === undefined || typeof value === 'string') return value;
    throw bad(`${name} is given more than once`);
  };
  for (const name of Object.keys(query)) {
    if (PARAMETERS.includes(name)) continue;
    const near = nearest(name, PARAMETERS);
    throw bad(`unknown parameter ${name}${near === undefined ? '' : ` (did you mean ${near}?)`}`);
  }
  const format = text('format') ?? 'folded';
  if (!isFormat(format)) throw bad(`format must be ${PROFILE_FORMATS.join(', ')}`);
  const pid = text('pid');
  if (pid !== undefined && !/^[1-9][0-9]{0,9}$/.test(pid)) throw bad('pid must be a number');
  const container = text('container');
  const workload = text('workload');
  return {
    format,
    ...(workload !== undefined && { workload }),
    ...(pid !== undefined && { pid }),
    sinceMs: Math.min(windowMs, sinceOf(text('since')) ?? windowMs),
    // Nothing is selected where everything is asked for.
    ...((pid ?? container ?? workload) !== undefined && {
      select: (resource: ReadonlyMap<string, AttributeValue>) =>
        (pid === undefined || String(resource.get(ATTRIBUTE.processPid)) === pid) &&
        (container === undefined ||
          (container !== '' && namesOf(resource).some((name) => name.startsWith(container)))) &&
        (workload === undefined || workloadNameOf(resource) === workload),
    }),
  };
}

/** A container is asked for by the beginning of its id, or by its name. */
function namesOf(resource: ReadonlyMap<string, AttributeValue>): string[] {
  return [ATTRIBUTE.containerId, ATTRIBUTE.containerName].map((key) => String(resource.get(key) ?? '')).filter(Boolean);
}

function sinceOf(since: string | undefined): number | undefined {
  if (since === undefined) return undefined;
  const match = /^([0-9]{1,6})(s|m|h)$/.exec(since);
  if (match === null || Number(match[1]) === 0) throw bad('since must be a duration such as 30s or 5m');
  return Number(match[1]) * UNITS[match[2]];
}

function isFormat(text: string): text is ProfileFormat {
  return (PROFILE_FORMATS as readonly string[]).includes(text);
}

function bad(message: string): AgentError {
  return new AgentError('usage', message);
}
