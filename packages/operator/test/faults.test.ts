// SPDX-License-Identifier: Apache-2.0
/** The whole operator against an API server in this process that misbehaves on demand, and counts. */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { API_VERSION } from '@plumbline/api';
import type { ClusterAccess } from '@plumbline/kube';
import { waitUntil } from '../../../e2e/cluster/wait-until.ts';
import { FakeApiServer } from '../../kube/test/fake-api-server.ts';
import { Operator, type OperatorOptions } from '../src/operator.ts';
import { SimulatedAgents } from './simulated-agents.ts';

const CONFIGS = `/apis/${API_VERSION}/nodeprofilingconfigs`;
const POLICIES = `/apis/${API_VERSION}/profilingpolicies`;

let server: FakeApiServer;
let access: ClusterAccess;
let stops: (() => Promise<unknown>)[];

beforeEach(async () => {
  server = await FakeApiServer.start();
  access = { server: server.url, credentials: async () => ({ tls: {} }), invalidate() {} };
  stops = [() => server.stop()];
});
afterEach(async () => {
  for (const stop of stops.reverse()) await stop();
});

function addNodes(count: number): void {
  for (let i = 0; i < count; i++) {
    const metadata = { labels: { pool: `pool-${i % 4}` } };
    server.put(`/api/v1/nodes/node-${i}`, { metadata, status: { conditions: [{ type: 'Ready', status: 'True' }] } });
  }
}

const policy = (spec: object) => ({
  apiVersion: API_VERSION,
  kind: 'ProfilingPolicy',
  spec: { target: { allPods: true }, ...spec },
});

function run(options: Partial<OperatorOptions> = {}): void {
  const silent = () => {};
  const operator = new Operator({
    access,
    version: 'test',
    identity: 'test-0',
    election: undefined,
    qps: 1_000,
    burst: 1_000,
    workers: 16,
    limits: { maxFrequencyHz: 997, maxCpuPercentOfNode: 100, resourceAttributes: {} },
    http: { host: '127.0.0.1', port: 0 },
    log: { debug: silent, info: silent, warn: silent, error: silent },
    ...options,
  });
  const stop = new AbortController();
  const ended = operator.run(stop.signal);
  stops.push(() => {
    stop.abort();
    return ended;
  });
}

function runAgents(): void {
  const agents = new SimulatedAgents(access);
  stops.push(() => agents.stop());
}

type Config = { spec?: { rules: { policy: { name: string } }[] }; status?: object };
const rulesOf = (node: string) =>
  ((server.object(`${CONFIGS}/${node}`) as Config | undefined)?.spec?.rules ?? []).map(({ policy: { name } }) => name);
const operatorWrites = (path: RegExp) =>
  server.requests.filter(
    ({ method, path: at, headers }) =>
      method !== 'GET' && path.test(at) && headers['user-agent']?.startsWith('plumbline-operator'),
  );

test('policies that change together share the writes to a node, within their windows', async () => {
  const NODES = 80;
  addNodes(NODES);
  runAgents();
  run();
  await waitUntil('all agents', () => server.objects(CONFIGS).filter(({ status }) => status).length === NODES, {
    timeout: 60_000,
  });
  const before = operatorWrites(/nodeprofilingconfigs/).length;
  for (let i = 0; i < 20; i++) {
    const everywhere = i % 5 === 0;
    server.put(
      `${POLICIES}/policy-${i}`,
      policy(everywhere ? {} : { nodeSelector: { matchLabels: { pool: `pool-${i % 4}` } } }),
    );
  }
  const wanted = (i: number) =>
    Array.from({ length: 20 }, (_, p) => p).filter((p) => p % 5 === 0 || p % 4 === i % 4).length;
  await waitUntil(
    'all configurations',
    () => Array.from({ length: NODES }, (_, i) => i).every((i) => rulesOf(`node-${i}`).length === wanted(i)),
    { timeout: 120_000 },
  );
  const writes = operatorWrites(/nodeprofilingconfigs/).length - before;
  assert.ok(writes <= 1.5 * NODES, `${writes} writes for ${NODES} nodes and 20 policies`);
});

test('smell 4, 429 ignored: half of all requests refused, none sent while the server wants silence, everything done in the end', async () => {
  addNodes(20);
  server.put(`${POLICIES}/all`, policy({}));
  const refusals: number[] = [];
  let count = 0;
  server.fault = ({ at, query }) => {
    count += 1;
    if (count % 2 === 0 || query.has('watch') || refusals.length >= 6) return undefined;
    refusals.push(at);
    return { status: 429, headers: { 'retry-after': '1' } };
  };
  run({ qps: 50, burst: 20 });
  await waitUntil(
    'all configurations',
    () => Array.from({ length: 20 }, (_, i) => i).every((i) => rulesOf(`node-${i}`).join() === 'all'),
    { timeout: 60_000 },
  );
  for (const refused of refusals) {
    // What was on its way when the refusal arrived cannot be called back.
    const late = server.requests.filter(
      ({ at, headers }) =>
        headers['user-agent']?.startsWith('plumbline-operator') && at > refused + 250 && at < refused + 990,
    );
    assert.deepEqual(
      late.map(({ path }) => path),
      [],
    );
  }
});

test('smell 8, lost updates: a conflict is retried with what is there now', async () => {
  addNodes(1);
  let conflicts = 3;
  server.fault = ({ method, path }) =>
    method === 'PATCH' && path.startsWith(CONFIGS) && conflicts-- > 0
      ? { status: 409, body: { code: 409, reason: 'Conflict', message: 'try again' } }
      : undefined;
  server.put(`${POLICIES}/all`, policy({}));
  run();
  await waitUntil('the configuration', () => rulesOf('node-0').join() === 'all');
  assert.ok(conflicts < 0);
});

test('an API server that fails every third write is worn down', async () => {
  addNodes(10);
  let count = 0;
  server.fault = ({ method }) =>
    method !== 'GET' && count++ % 3 === 0 ? (count % 2 === 0 ? { status: 500 } : 'reset') : undefined;
  server.put(`${POLICIES}/all`, policy({}));
  run();
  runAgents();
  await waitUntil(
    'Ready',
    () => {
      const { status } = (server.object(`${POLICIES}/all`) ?? {}) as {
        status?: { conditions?: { type: string; status: string }[] };
      };
      return status?.conditions?.some(({ type, status: value }) => type === 'Ready' && value === 'True');
    },
    { timeout: 60_000 },
  );
});

test('smell 13, chatty: four watches with bookmarks, and not a list more than four', async () => {
  addNodes(3);
  run();
  await waitUntil('the watches', () => server.openWatches === 4);
  const watches = server.requests.filter(({ query }) => query.has('watch'));
  assert.ok(watches.every(({ query }) => query.get('allowWatchBookmarks') === 'true'));
  assert.deepEqual(
    watches.map(({ path }) => path).sort(),
    [CONFIGS, POLICIES, '/api/v1/namespaces', '/api/v1/nodes'].sort(),
  );
  assert.equal(server.lists, 4);
});
