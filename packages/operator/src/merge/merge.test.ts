// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  configHash,
  matchesSelector,
  NodeProfilingConfigSpec,
  ProfilingPolicySpec,
  policyRevision,
} from '@plumbline/api';
import fc from 'fast-check';
import { mergePolicies } from './merge.ts';
import { byPrecedence, type EffectivePolicy } from './precedence.ts';
import { compilePolicy, type Limits, type NamespaceView, type Rule } from './rule.ts';

const limits: Limits = {
  maxFrequencyHz: 99,
  maxCpuPercentOfNode: 2,
  resourceAttributes: { 'k8s.cluster.name': 'test' },
};

const namespaces: NamespaceView[] = [
  { name: 'payments', labels: { team: 'payments' } },
  { name: 'payments-eu', labels: { team: 'payments', region: 'eu' } },
  { name: 'search', labels: { team: 'search' } },
  { name: 'default', labels: {} },
];

function policy(name: string, spec: object, at = '2026-01-01T00:00:00Z'): EffectivePolicy {
  const parsed = ProfilingPolicySpec.parse(spec);
  return {
    name,
    uid: `uid-${name}`,
    creationTimestamp: at,
    revision: policyRevision(parsed),
    spec: parsed,
    selectsNode: () => true,
  };
}

const compile = (policies: EffectivePolicy[]) => policies.map((item) => compilePolicy(item, namespaces, limits));
const merge = (...policies: EffectivePolicy[]) => mergePolicies(compile(policies), limits);

const team = (name: string) => ({ namespaceSelector: { matchLabels: { team: name } } });
const app = (...values: string[]) => ({ podSelector: { matchExpressions: [{ key: 'app', operator: 'In', values }] } });

const anyPolicy = fc
  .record({
    name: fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f'),
    at: fc.constantFrom('2026-01-01T00:00:00Z', '2026-01-02T00:00:00Z'),
    priority: fc.constantFrom(0, 1, 100),
    target: fc.constantFrom<object>(
      { allPods: true },
      { hostProcesses: true },
      team('payments'),
      { ...team('search'), containers: ['main'] },
      app('api'),
      { ...team('payments'), ...app('api', 'worker') },
      { ...app('web'), hostProcesses: true },
    ),
    event: fc.constantFrom('CPU', 'CPU', 'CPU', 'OffCPU'),
    frequencyHz: fc.constantFrom(7, 19, 99, 997),
    strategy: fc.constantFrom('Auto', 'Loop', 'TailCall'),
    endpoint: fc.constantFrom(undefined, 'one:4317', 'two:4317'),
  })
  .map(({ name, at, priority, target, event, frequencyHz, strategy, endpoint }) =>
    policy(
      name,
      {
        priority,
        target,
        sampling: { event, frequencyHz },
        unwinding: { strategy },
        export: endpoint ? { otlp: { endpoint } } : {},
      },
      at,
    ),
  );
const anyPolicies = fc.uniqueArray(anyPolicy, { selector: ({ name }) => name, maxLength: 6 });
const shuffled = anyPolicies.chain((policies) =>
  fc.tuple(fc.constant(policies), fc.shuffledSubarray(policies, { minLength: policies.length })),
);

interface Process {
  namespace?: string;
  labels: Record<string, string>;
  container: string;
}

const anyProcess = fc.record({
  namespace: fc.constantFrom(undefined, 'payments', 'payments-eu', 'search', 'default', 'new'),
  labels: fc.constantFrom<Record<string, string>>({}, { app: 'api' }, { app: 'web' }, { app: 'worker' }),
  container: fc.constantFrom('main', 'sidecar'),
});

/** What the agent does with a rule. */
function ruleMatches(rule: Rule, { namespace, labels, container }: Process): boolean {
  if (namespace === undefined) return rule.hostProcesses;
  return (
    (rule.allNamespaces || rule.namespaces.includes(namespace)) &&
    matchesSelector(rule.podSelector, labels) &&
    (rule.containers.length === 0 || rule.containers.includes(container))
  );
}

test('the order of the input does not matter', () => {
  fc.assert(
    fc.property(shuffled, ([policies, other]) => {
      assert.deepEqual(merge(...other), merge(...policies));
    }),
    { numRuns: 500 },
  );
});

test('a process gets the policy of highest precedence that selects it and fits the node', () => {
  fc.assert(
    fc.property(anyPolicies, anyProcess, (policies, process) => {
      const { spec } = merge(...policies);
      const decided = spec.rules.find((rule) => ruleMatches(rule, process))?.policy.name;
      const event = [...policies].sort(byPrecedence)[0]?.spec.sampling.event;
      const expected = [...policies]
        .sort(byPrecedence)
        .filter((item) => item.spec.sampling.event === event)
        .find((item) => ruleMatches(compile([item])[0].rule!, process))?.name;
      assert.equal(decided, expected);
    }),
    { numRuns: 500 },
  );
});

test('whoever loses a process is told by whom, and nobody else is', () => {
  fc.assert(
    fc.property(anyPolicies, anyProcess, (policies, process) => {
      const { spec, overrides } = merge(...policies);
      const matching = spec.rules.filter((rule) => ruleMatches(rule, process));
      for (const loser of matching.slice(1)) {
        const override = overrides.find((item) => item.loser === loser.policy.uid && item.what.startsWith('processes'));
        assert.ok(override, `${loser.policy.name} loses to ${matching[0].policy.name}`);
      }
      for (const { loser, winner, reason } of overrides.filter(
        (item) => item.reason === 'OverriddenByHigherPriority',
      )) {
        const names = spec.rules.map(({ policy: { name } }) => name);
        const loserName = spec.rules.find((rule) => rule.policy.uid === loser)!.policy.name;
        assert.ok(names.indexOf(winner) < names.indexOf(loserName), `${reason}: ${winner} before ${loserName}`);
      }
    }),
    { numRuns: 500 },
  );
});

test('what is merged fits the schema and carries its own hash', () => {
  fc.assert(
    fc.property(anyPolicies, (policies) => {
      const { spec } = merge(...policies);
      assert.deepEqual(NodeProfilingConfigSpec.parse(spec), spec, 'every default is written out');
      assert.equal(spec.configHash, configHash(spec));
      assert.ok(spec.rules.every(({ frequencyHz }) => frequencyHz! <= spec.sampling.frequencyHz));
    }),
  );
});

test('namespaces are expanded by name, sorted', () => {
  const { spec } = merge(policy('a', { target: team('payments') }));
  assert.deepEqual(spec.rules[0].namespaces, ['payments', 'payments-eu']);
  assert.equal(spec.rules[0].allNamespaces, false);
});

test('a policy that selects no namespace makes no rule', () => {
  assert.deepEqual(merge(policy('a', { target: team('nobody') })).spec.rules, []);
});

test('hostProcesses alone selects no pods', () => {
  const [rule] = merge(policy('a', { target: { hostProcesses: true } })).spec.rules;
  assert.deepEqual([rule.hostProcesses, rule.allNamespaces, rule.namespaces], [true, false, []]);
});

test('too many namespaces are refused with advice', () => {
  const many = Array.from({ length: 300 }, (_, i) => ({ name: `n${i}`, labels: { team: 'x' } }));
  const { problem, rule } = compilePolicy(policy('a', { target: team('x') }), many, limits);
  assert.equal(rule, undefined);
  assert.equal(problem?.reason, 'TooManyNamespaces');
  assert.match(problem?.message ?? '', /matches 300 namespaces; at most 256/);
});

test('limits of the cluster lower what is asked for, and say so', () => {
  const wanted = policy('a', {
    target: { allPods: true },
    sampling: { frequencyHz: 997 },
    budget: { cpuPercentOfNode: '50' },
  });
  const compiled = compilePolicy(wanted, namespaces, limits);
  assert.equal(compiled.rule?.frequencyHz, 99);
  assert.deepEqual(
    compiled.clamps.map(({ message }) => message),
    ['frequencyHz 997 lowered to 99', 'cpuPercentOfNode 50 lowered to 2'],
  );
});

test('the node has the highest frequency and depth, and the lowest budget, of its policies', () => {
  const { spec } = merge(
    policy('a', {
      target: team('payments'),
      sampling: { frequencyHz: 49 },
      unwinding: { maxFrames: 256 },
      budget: { cpuPercentOfNode: '0.5' },
    }),
    policy('b', { target: team('search'), unwinding: { maxFrames: 4096, spill: 'Never', verifyRatio: '0.00000001' } }),
  );
  assert.deepEqual(spec.sampling, { event: 'CPU', frequencyHz: 49 });
  assert.deepEqual(spec.unwinding, { strategy: 'Auto', maxFrames: 4096, spill: 'Auto', verifyRatio: '0.00000001' });
  assert.equal(spec.budget.cpuPercentOfNode, '0.5');
  assert.equal(spec.policySummary, 'a,b');
});

test('the event and the strategy of the node are those of the highest precedence', () => {
  const { spec, overrides } = merge(
    policy('first', { priority: 9, target: team('payments'), unwinding: { strategy: 'Loop' } }),
    policy('other-event', { target: team('search'), sampling: { event: 'OffCPU' } }),
    policy('other-strategy', { target: team('search'), unwinding: { strategy: 'TailCall' } }),
  );
  assert.deepEqual(
    spec.rules.map(({ policy: { name } }) => name),
    ['first', 'other-strategy'],
  );
  assert.equal(spec.unwinding.strategy, 'Loop');
  assert.deepEqual(overrides, [
    { loser: 'uid-other-event', winner: 'first', reason: 'NodeSettingOverridden', what: 'event OffCPU' },
    { loser: 'uid-other-strategy', winner: 'first', reason: 'NodeSettingOverridden', what: 'strategy TailCall' },
  ]);
});

test('a node holds 32 policies; the lowest are left out and told so', () => {
  const policies = Array.from({ length: 40 }, (_, i) => policy(`p${i}`, { priority: i, target: team('payments') }));
  const { spec, overrides } = merge(...policies);
  assert.equal(spec.rules.length, 32);
  assert.equal(spec.rules[0].policy.name, 'p39');
  assert.equal(overrides.filter(({ reason }) => reason === 'RuleLimit').length, 8);
  assert.match(spec.policySummary, /^p39,p38,.*,\+\d+$/);
  assert.ok(spec.policySummary.length <= 130);
});

test('policies with the same destination share one export; without one, the default counts', () => {
  const otlp = { endpoint: 'one:4317' };
  const withDefault: Limits = {
    ...limits,
    defaultExport: ProfilingPolicySpec.parse({ target: { allPods: true }, export: { otlp } }).export.otlp,
  };
  const policies = [
    policy('a', { target: team('payments'), export: { otlp } }),
    policy('b', { target: team('search') }),
    policy('c', { target: app('web'), export: { otlp: { endpoint: 'two:4317' } } }),
  ];
  const { spec } = mergePolicies(
    policies.map((item) => compilePolicy(item, namespaces, withDefault)),
    withDefault,
  );
  assert.equal(spec.exports.length, 2);
  assert.deepEqual(spec.rules[0].exports, spec.rules[1].exports);
  assert.deepEqual(merge(policies[1]).spec.rules[0].exports, [], 'no default, no destination');
});

test('a policy that folds recursion has a destination of its own, which says so', () => {
  const otlp = { endpoint: 'one:4317' };
  const { spec } = merge(
    policy('a', { target: team('payments'), export: { otlp } }),
    policy('b', { target: team('search'), export: { otlp, foldRecursion: true } }),
  );
  const [plain, folded] = spec.rules.map(({ exports }) => spec.exports.find(({ name }) => name === exports?.[0]));
  assert.deepEqual([plain?.foldRecursion, folded?.foldRecursion], [undefined, true]);
  assert.equal(folded?.name, `${plain?.name}-folded`);
  assert.deepEqual(plain?.otlp, folded?.otlp);
});
