// SPDX-License-Identifier: Apache-2.0
/** What the guest tells the host over a serial line, and how: a mark, then the value serialized, compressed and in base64, a line. */
import { deserialize, serialize } from 'node:v8';
import { gunzipSync, gzipSync } from 'node:zlib';
import type { Observation } from '../truth/observe.ts';
import type { RecordedSummary, Strategy } from '../truth/recording.ts';

/** Samples of processes that lived a fraction of a second, by outcome and reason, e.g. `truncated process_unknown`. */
export type ShortLived = Readonly<Record<string, number>>;

export type Report =
  | { readonly kind: 'started'; readonly release: string }
  /** What `plumbline doctor --json` says. */
  | { readonly kind: 'doctor'; readonly diagnosis: unknown }
  | { readonly kind: 'observation'; readonly strategy: Strategy; readonly observation: Observation }
  | {
      readonly kind: 'shortLived';
      readonly strategy: Strategy;
      readonly summary: RecordedSummary;
      readonly samples: ShortLived;
    }
  /** A strategy that did not load, or a part that went wrong, in its own words. */
  | { readonly kind: 'failure'; readonly strategy?: Strategy; readonly part: string; readonly message: string }
  | { readonly kind: 'end' };

const MARK = 'plumbline-report:';

export function encodeReport(report: Report): string {
  return `${MARK}${gzipSync(serialize(report)).toString('base64')}\n`;
}

/** A line of the serial port; undefined when it is not a report. @throws Error when it is one, but damaged */
export function decodeReport(line: string): Report | undefined {
  const text = line.trim();
  if (!text.startsWith(MARK)) return undefined;
  return deserialize(gunzipSync(Buffer.from(text.slice(MARK.length), 'base64'))) as Report;
}
