// SPDX-License-Identifier: Apache-2.0
/** The generated CRDs on a real API server: accepted as structural, and refusing what is wrong with words that help. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { API_VERSION } from '@plumbline/api';
import { customResourceDefinition, KINDS } from '@plumbline/api/crd';
import { ControlPlane, type KubernetesObject } from '../../../e2e/cluster/control-plane.ts';
import { waitUntil } from '../../../e2e/cluster/wait-until.ts';

let cluster: ControlPlane;
before(async () => {
  cluster = await ControlPlane.start();
  await cluster.apply(...(KINDS.map(customResourceDefinition) as unknown as KubernetesObject[]));
  for (const { names } of KINDS) {
    await cluster.kubectl('wait', '--for=condition=Established', `crd/${names.plural}.${names.group}`, '--timeout=30s');
    // Established comes before the resource is served everywhere.
    await waitUntil(`${names.plural} to be served`, async () => {
      await cluster.kubectl('get', names.plural);
      return true;
    });
  }
});
after(() => cluster?.stop());

const policy = (name: string, spec: object) => ({
  apiVersion: API_VERSION,
  kind: 'ProfilingPolicy',
  metadata: { name },
  spec,
});
const nodeConfig = (name: string, spec: object) => ({
  apiVersion: API_VERSION,
  kind: 'NodeProfilingConfig',
  metadata: { name },
  spec,
});

async function refusal(object: KubernetesObject): Promise<string> {
  try {
    await cluster.apply(object);
  } catch (error) {
    return String(error);
  }
  return assert.fail(`${JSON.stringify(object)} was accepted`);
}

test('no NonStructuralSchema condition', async () => {
  for (const { names } of KINDS) {
    const crd = await cluster.get<{ status: { conditions: { type: string; status: string; message: string }[] } }>(
      'crd',
      `${names.plural}.${names.group}`,
    );
    const byType = Object.fromEntries(crd.status.conditions.map((condition) => [condition.type, condition]));
    assert.equal(byType.NamesAccepted.status, 'True');
    assert.equal(byType.Established.status, 'True');
    assert.equal(byType.NonStructuralSchema, undefined, byType.NonStructuralSchema?.message);
  }
});

test('defaults are filled in by the API server', async () => {
  await cluster.apply(policy('minimal', { target: { allPods: true } }));
  const { spec } = await cluster.get<{ spec: Record<string, object> } & KubernetesObject>('profpol', 'minimal');
  assert.deepEqual(spec.sampling, { event: 'CPU', frequencyHz: 19 });
  assert.deepEqual(spec.objective, { truncatedRatio: '0.01', window: '10m' });
  assert.deepEqual(spec.rollout, {
    maxUnavailable: '10%',
    maxFailed: '5%',
    progressDeadline: '10m',
    onFailure: 'Rollback',
  });
  assert.deepEqual(spec.export, {});
});

test('the example of the design is accepted and printed', async () => {
  await cluster.apply(
    policy('payments', {
      priority: 100,
      nodeSelector: { matchLabels: { pool: 'general' } },
      target: {
        namespaceSelector: { matchLabels: { team: 'payments' } },
        podSelector: { matchExpressions: [{ key: 'app', operator: 'In', values: ['api', 'worker'] }] },
        containers: ['api'],
      },
      unwinding: { strategy: 'Auto', maxFrames: 1024, runtimes: ['Native', 'Python', 'NodeJS', 'JVM'] },
      export: { otlp: { endpoint: 'otel-collector.observability:4317' } },
      rollout: { maxUnavailable: 3, canary: { percent: 5, pause: '300s' } },
    }),
  );
  const [header] = (await cluster.kubectl('get', 'profpol')).split('\n');
  assert.match(header, /^NAME +READY +TARGETED +APPLIED +FAILED +TRUNCATED +AGE$/);
  await cluster.apply(
    nodeConfig('node-1', { policySummary: 'a,b', rules: [{ policy: { name: 'a' } }, { policy: { name: 'b' } }] }),
  );
  const [columns, row] = (await cluster.kubectl('get', 'npc')).split('\n');
  assert.match(columns, /^NAME +READY +STRATEGY +KERNEL +TRUNCATED +POLICIES +AGE$/);
  assert.match(row, / a,b /);
  assert.match(await cluster.kubectl('get', 'profiling'), /node-1[\s\S]*payments|payments[\s\S]*node-1/);
});

const invalid: [title: string, spec: object, message: RegExp][] = [
  ['an empty selector', { target: {} }, /selects nothing: set a namespaceSelector or podSelector, or say allPods/],
  ['an empty podSelector', { target: { podSelector: {} } }, /selects nothing/],
  [
    'allPods with a selector',
    { target: { allPods: true, podSelector: { matchLabels: { a: 'b' } } } },
    /allPods: true takes no namespaceSelector/,
  ],
  [
    'In without values',
    { target: { podSelector: { matchExpressions: [{ key: 'a', operator: 'In' }] } } },
    /In and NotIn need at least one value/,
  ],
  [
    'a frequency of zero',
    { target: { allPods: true }, sampling: { frequencyHz: 0 } },
    /spec\.sampling\.frequencyHz.*greater than or equal to 1/,
  ],
  [
    'an unknown event',
    { target: { allPods: true }, sampling: { event: 'GPU' } },
    /spec\.sampling\.event: Unsupported value: "GPU": supported values: "CPU", "OffCPU"/,
  ],
  [
    'a number as ratio',
    { target: { allPods: true }, objective: { truncatedRatio: 0.01 } },
    /spec\.objective\.truncatedRatio.*(must be of type string|expected string)/,
  ],
  [
    'a ratio above one',
    { target: { allPods: true }, objective: { truncatedRatio: '1.5' } },
    /spec\.objective\.truncatedRatio/,
  ],
  [
    'credentials in an endpoint',
    { target: { allPods: true }, export: { otlp: { endpoint: 'http://u:p@host' } } },
    /spec\.export\.otlp\.endpoint/,
  ],
  [
    'a negative maxUnavailable',
    { target: { allPods: true }, rollout: { maxUnavailable: -1 } },
    /must be a number of nodes or a percentage such as "10%"/,
  ],
  [
    'a maxUnavailable in words',
    { target: { allPods: true }, rollout: { maxUnavailable: 'half' } },
    /must be a number of nodes or a percentage such as "10%"/,
  ],
  ['no target', {}, /spec\.target: Required value|missing required field "target"/],
  ['a runtime twice', { target: { allPods: true }, unwinding: { runtimes: ['JVM', 'JVM'] } }, /duplicate/i],
];
for (const [title, spec, message] of invalid) {
  test(`refused with words that help: ${title}`, async () => {
    assert.match(await refusal(policy('invalid', spec)), message);
  });
}

test('a rule that names a missing export is refused', async () => {
  const spec = { rules: [{ policy: { name: 'a' }, exports: ['nowhere'] }] };
  assert.match(await refusal(nodeConfig('node-2', spec)), /every export that a rule names must be in spec\.exports/);
});

test('an export is exactly one of otlp and pprof', async () => {
  const spec = { rules: [], exports: [{ name: 'x' }] };
  assert.match(await refusal(nodeConfig('node-2', spec)), /an export is exactly one of otlp and pprof/);
});
