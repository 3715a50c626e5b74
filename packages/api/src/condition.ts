// SPDX-License-Identifier: Apache-2.0
/** `metav1.Condition`: schema and the merge rule of its transition time. */
import { z } from 'zod';
import { mapOf } from './schema.ts';
import { Timestamp, timestamp } from './timestamp.ts';

export const Condition = z
  .object({
    type: z
      .string()
      .max(316)
      .regex(/^[A-Za-z]([-A-Za-z0-9_.]*[A-Za-z0-9])?$/)
      .describe('What the condition is about, such as Ready.'),
    status: z.enum(['True', 'False', 'Unknown']).describe('Whether it holds.'),
    reason: z
      .string()
      .min(1)
      .max(256)
      .regex(/^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$/)
      .describe('CamelCase word for programs.'),
    message: z.string().max(1024).describe('Sentence for people.'),
    observedGeneration: z.int().min(0).optional().describe('metadata.generation that this was derived from.'),
    lastTransitionTime: Timestamp.describe('When `status` last changed.'),
  })
  .describe('One aspect of the state, as in metav1.Condition.');

export const Conditions = mapOf(Condition, 16, ['type']);

export type Condition = z.infer<typeof Condition>;

/**
 * `conditions` with `next` merged in by type. The transition time moves only when the status flips, as the API
 * conventions ask, so that an unchanged state is an unchanged object.
 */
export function setCondition(
  conditions: readonly Condition[],
  next: Omit<Condition, 'lastTransitionTime'>,
  now: Date,
): Condition[] {
  const previous = conditions.find(({ type }) => type === next.type);
  const lastTransitionTime = previous?.status === next.status ? previous.lastTransitionTime : timestamp(now);
  const merged = { ...next, lastTransitionTime };
  return previous === undefined
    ? [...conditions, merged]
    : conditions.map((condition) => (condition === previous ? merged : condition));
}

export function findCondition(conditions: readonly Condition[] | undefined, type: string): Condition | undefined {
  return conditions?.find((condition) => condition.type === type);
}
