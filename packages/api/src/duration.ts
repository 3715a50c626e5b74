// SPDX-License-Identifier: Apache-2.0
import { z } from 'zod';

const UNITS: Record<string, number> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };

/** A Go-style duration of whole numbers: `300s`, `10m`, `1h30m`. */
export const Duration = z
  .string()
  .max(24)
  .regex(/^([0-9]+(ms|s|m|h))+$/, { error: 'must be a duration such as 30s, 10m or 1h30m' });

/** Milliseconds of a duration string. Throws a RangeError on anything that {@link Duration} refuses. */
export function parseDuration(text: string): number {
  if (!/^([0-9]+(ms|s|m|h))+$/.test(text)) throw new RangeError(`not a duration: ${JSON.stringify(text)}`);
  let total = 0;
  for (const [, number, unit] of text.matchAll(/([0-9]+)(ms|s|m|h)/g)) total += Number(number) * UNITS[unit];
  return total;
}
