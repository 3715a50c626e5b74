// SPDX-License-Identifier: Apache-2.0
/** Kubernetes label selectors: schema and matching (apimachinery `metav1.LabelSelector`). */
import { z } from 'zod';
import { listOf, withRules } from './schema.ts';

const LABEL_KEY =
  /^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$/;
const LABEL_VALUE = /^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$/;

const LabelValue = z.string().max(63).regex(LABEL_VALUE, { error: 'must be a label value' });

export const LabelRequirement = withRules(
  z.object({
    key: z.string().min(1).max(317).regex(LABEL_KEY, { error: 'must be a label key' }).describe('The label key.'),
    operator: z.enum(['In', 'NotIn', 'Exists', 'DoesNotExist']).describe('How `values` are compared.'),
    values: listOf(LabelValue, 64).optional().describe('Required by In and NotIn, refused by the other operators.'),
  }),
  [
    {
      cel: "self.operator in ['In', 'NotIn'] ? (has(self.values) && size(self.values) > 0) : (!has(self.values) || size(self.values) == 0)",
      check: ({ operator, values }) => (operator === 'In' || operator === 'NotIn') === (values ?? []).length > 0,
      message: 'In and NotIn need at least one value; Exists and DoesNotExist take none',
    },
  ],
);

const matchLabelsRules = [
  {
    cel: 'self.all(k, size(k) <= 317)',
    check: (labels: Record<string, string>) => Object.keys(labels).every((key) => key.length <= 317),
    message: 'a label key has at most 317 characters',
  },
];

export const LabelSelector = z.object({
  matchLabels: withRules(z.record(z.string(), LabelValue).meta({ maxProperties: 32 }), matchLabelsRules)
    .optional()
    .describe('Labels that must be present with exactly these values.'),
  matchExpressions: listOf(LabelRequirement, 32).optional().describe('Requirements that must all hold.'),
});

export type LabelRequirement = z.infer<typeof LabelRequirement>;
export type LabelSelector = z.infer<typeof LabelSelector>;
export type Labels = Readonly<Record<string, string>>;

/** True where the selector has no requirement, and so matches everything. */
export function isEmptySelector(selector: LabelSelector | undefined): boolean {
  return Object.keys(selector?.matchLabels ?? {}).length === 0 && (selector?.matchExpressions ?? []).length === 0;
}

/** Whether `labels` satisfy every requirement; an absent or empty selector matches everything. */
export function matchesSelector(selector: LabelSelector | undefined, labels: Labels): boolean {
  return compileSelector(selector)(labels);
}

/** The same for matching one selector with many labels. */
export function compileSelector(selector: LabelSelector | undefined): (labels: Labels) => boolean {
  const all = requirements(selector);
  return (labels) => all.every((requirement) => matchesRequirement(requirement, labels));
}

/** All requirements of a selector in one form: `matchLabels` are In with one value. */
export function requirements(selector: LabelSelector | undefined): LabelRequirement[] {
  const fromLabels = Object.entries(selector?.matchLabels ?? {}).map(
    ([key, value]): LabelRequirement => ({ key, operator: 'In', values: [value] }),
  );
  return [...fromLabels, ...(selector?.matchExpressions ?? [])];
}

function matchesRequirement({ key, operator, values = [] }: LabelRequirement, labels: Labels): boolean {
  const present = Object.hasOwn(labels, key);
  switch (operator) {
    case 'In':
      return present && values.includes(labels[key]);
    case 'NotIn':
      return !present || !values.includes(labels[key]);
    case 'Exists':
      return present;
    case 'DoesNotExist':
      return !present;
  }
}

/**
 * Whether one set of labels could satisfy both selectors. Decided key by key; exact, because requirements on different
 * keys are independent of each other.
 */
export function selectorsOverlap(a: LabelSelector | undefined, b: LabelSelector | undefined): boolean {
  const byKey = Map.groupBy([...requirements(a), ...requirements(b)], ({ key }) => key);
  return [...byKey.values()].every(isSatisfiable);
}

function isSatisfiable(onOneKey: LabelRequirement[]): boolean {
  const absentAllowed = onOneKey.every(({ operator }) => operator === 'NotIn' || operator === 'DoesNotExist');
  if (absentAllowed) return true;
  if (onOneKey.some(({ operator }) => operator === 'DoesNotExist')) return false;
  const required = onOneKey.filter(({ operator }) => operator === 'In');
  if (required.length === 0) return true; // some value outside every NotIn always exists
  return (required[0].values ?? []).some((value) =>
    onOneKey.every(({ operator, values = [] }) =>
      operator === 'In' ? values.includes(value) : operator === 'NotIn' ? !values.includes(value) : true,
    ),
  );
}
