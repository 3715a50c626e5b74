// SPDX-License-Identifier: Apache-2.0
/** All policies that apply to a node, as the one configuration that its agent follows. Pure, and blind to input order. */
import { configHash, MAX_EXPORTS, MAX_RULES, NodeProfilingConfigSpec } from '@plumbline/api';
import { byPrecedence } from './precedence.ts';
import { type CompiledPolicy, type Limits, rulesOverlap } from './rule.ts';

/** A policy that does not get what it asks for on this node. */
export interface Override {
  /** uid of the policy that loses. */
  loser: string;
  /** Name of the policy that wins; empty where no single one does. */
  winner: string;
  reason: 'OverriddenByHigherPriority' | 'NodeSettingOverridden' | 'RuleLimit';
  /** What is lost, such as `pods` or `strategy Loop`. */
  what: string;
}

/** What a policy loses, to whom, on how many nodes. */
export type Loss = Omit<Override, 'loser'> & { nodes: number };

export interface Merged {
  spec: NodeProfilingConfigSpec;
  /** uids of the policies that have a rule. */
  uids: ReadonlySet<string>;
  overrides: Override[];
}

/** What fits, by precedence, and what does not. */
interface Selection {
  kept: CompiledPolicy[];
  overrides: Override[];
}

/** What the schema says where no policy does. */
const DEFAULTS = NodeProfilingConfigSpec.parse({ rules: [] });

/** The node's configuration. The same policies in any order give the same result, down to the hash. */
export function mergePolicies(policies: Iterable<CompiledPolicy>, limits: Limits): Merged {
  const ordered = [...policies]
    .filter(({ rule }) => rule !== undefined)
    .sort((a, b) => byPrecedence(a.policy, b.policy));
  const { kept, overrides } = select(ordered);
  const specs = kept.map(({ policy }) => policy.spec);
  const rules = kept.map(({ rule }) => rule!);
  const strategy = specs.map(({ unwinding }) => unwinding.strategy).find((wanted) => wanted !== 'Auto') ?? 'Auto';
  const highest = (values: (number | undefined)[], otherwise: number) =>
    values.length > 0 ? Math.max(...values.map((value) => value ?? otherwise)) : otherwise;
  const budgets = kept.map(({ cpuPercentOfNode }) => cpuPercentOfNode);
  const spec: NodeProfilingConfigSpec = {
    configHash: '',
    policySummary: summary(kept.map(({ policy }) => policy.name)),
    sampling: {
      event: specs[0]?.sampling.event ?? DEFAULTS.sampling.event,
      frequencyHz: highest(
        rules.map((rule) => rule.frequencyHz),
        DEFAULTS.sampling.frequencyHz,
      ),
    },
    unwinding: {
      strategy,
      maxFrames: highest(
        rules.map((rule) => rule.unwinding.maxFrames),
        DEFAULTS.unwinding.maxFrames,
      ),
      spill: specs.length === 0 || specs.some(({ unwinding }) => unwinding.spill === 'Auto') ? 'Auto' : 'Never',
      verifyRatio: specs.map(({ unwinding }) => unwinding.verifyRatio).reduce(larger, '0'),
    },
    budget: {
      cpuPercentOfNode: String(budgets.length > 0 ? Math.min(...budgets) : Math.min(1, limits.maxCpuPercentOfNode)),
      onExceeded:
        specs.length > 0 && specs.every(({ budget }) => budget.onExceeded === 'Report') ? 'Report' : 'Throttle',
    },
    reportInterval: DEFAULTS.reportInterval,
    resourceAttributes: limits.resourceAttributes,
    exports: [...exportsByName(kept).values()].sort((a, b) => (a.name < b.name ? -1 : 1)),
    rules,
  };
  spec.configHash = configHash(spec);
  const uids = new Set(rules.map(({ policy }) => policy.uid));
  return { spec, uids, overrides: [...overrides, ...strategyOverrides(kept, strategy), ...podOverrides(kept)] };
}

/** Leaves out what the node cannot hold: another event than the first policy's, too many rules, too many exports. */
function select(ordered: CompiledPolicy[]): Selection {
  const kept: CompiledPolicy[] = [];
  const overrides: Override[] = [];
  const exports = new Set<string>();
  for (const candidate of ordered) {
    const { policy } = candidate;
    const { event } = policy.spec.sampling;
    const first = kept[0]?.policy;
    if (first && first.spec.sampling.event !== event) {
      overrides.push({
        loser: policy.uid,
        winner: first.name,
        reason: 'NodeSettingOverridden',
        what: `event ${event}`,
      });
      continue;
    }
    const wanted = new Set([...exports, ...candidate.exports.map(({ name }) => name)]);
    if (kept.length >= MAX_RULES || wanted.size > MAX_EXPORTS) {
      const what =
        kept.length >= MAX_RULES ? `more than ${MAX_RULES} policies` : `more than ${MAX_EXPORTS} destinations`;
      overrides.push({ loser: policy.uid, winner: '', reason: 'RuleLimit', what });
      continue;
    }
    for (const name of wanted) exports.add(name);
    kept.push(candidate);
  }
  return { kept, overrides };
}

function larger(a: string, b: string): string {
  return Number(b) > Number(a) ? b : a;
}

function exportsByName(kept: CompiledPolicy[]) {
  return new Map(kept.flatMap(({ exports }) => exports.map((item) => [item.name, item] as const)));
}

function strategyOverrides(kept: CompiledPolicy[], strategy: string): Override[] {
  const winner = kept.find(({ policy }) => policy.spec.unwinding.strategy === strategy)?.policy.name ?? '';
  return kept
    .map(({ policy }) => ({ uid: policy.uid, wanted: policy.spec.unwinding.strategy }))
    .filter(({ wanted }) => wanted !== 'Auto' && wanted !== strategy)
    .map(({ uid, wanted }) => ({ loser: uid, winner, reason: 'NodeSettingOverridden', what: `strategy ${wanted}` }));
}

/** For each policy the first of higher precedence that could take some of its processes. */
function podOverrides(kept: CompiledPolicy[]): Override[] {
  const overrides: Override[] = [];
  for (const [index, loser] of kept.entries()) {
    const winner = kept.slice(0, index).find((higher) => rulesOverlap(higher.rule!, loser.rule!));
    if (winner) {
      const reason = 'OverriddenByHigherPriority';
      overrides.push({
        loser: loser.policy.uid,
        winner: winner.policy.name,
        reason,
        what: 'processes that both select',
      });
    }
  }
  return overrides;
}

const SUMMARY_LENGTH = 120;

/** `payments,default,+3`: as many names as fit a column. */
function summary(names: string[]): string {
  let text = '';
  for (const [index, name] of names.entries()) {
    const next = text === '' ? name : `${text},${name}`;
    if (next.length > SUMMARY_LENGTH && text !== '') return `${text},+${names.length - index}`;
    text = next;
  }
  return text.slice(0, 253);
}
