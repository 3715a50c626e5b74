// SPDX-License-Identifier: Apache-2.0
import { spawnSync } from 'node:child_process';

/**
 * For the `skip` option of tests that need programs: false when all are there, otherwise which are missing. On CI a
 * missing program is a failure.
 */
export function missingTools(...names: string[]): string | false {
  const missing = names.filter((name) => spawnSync('sh', ['-c', `command -v ${name}`]).status !== 0);
  if (missing.length === 0) return false;
  const text = `needs ${missing.join(', ')}`;
  if (process.env.CI === 'true') throw new Error(`on CI this test ${text}`);
  return text;
}
