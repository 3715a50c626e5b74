// SPDX-License-Identifier: Apache-2.0
import { z } from 'zod';

/** A metav1.Time. */
export const Timestamp = z.iso.datetime({ offset: true });

/** The date as the API server writes it: UTC in whole seconds, such as `2026-01-31T08:15:00Z`. */
export function timestamp(date: Date): string {
  return `${date.toISOString().slice(0, 19)}Z`;
}
