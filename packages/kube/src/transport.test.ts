// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { waitUntil } from '../../../e2e/cluster/wait-until.ts';
import { FakeApiServer } from '../test/fake-api-server.ts';
import type { ClusterAccess } from './access.ts';
import { ApiError } from './api-error.ts';
import { noMetrics } from './metrics.ts';
import { Resource } from './resource.ts';
import { Transport, type TransportOptions } from './transport.ts';

let server: FakeApiServer;
const transports: Transport[] = [];

beforeEach(async () => {
  server = await FakeApiServer.start();
});
afterEach(async () => {
  await Promise.all(transports.splice(0).map((transport) => transport.close()));
  await server.stop();
});

const plain = (url: string): ClusterAccess => ({
  server: url,
  credentials: async () => ({ tls: {} }),
  invalidate() {},
});

function connect(options: Partial<TransportOptions> = {}): Transport {
  const transport = new Transport({
    access: plain(server.url),
    userAgent: 'test/1',
    qps: 1000,
    burst: 1000,
    ...options,
  });
  transports.push(transport);
  return transport;
}

const waitFor = (done: () => boolean) => waitUntil('it', done, { interval: 5 });

const NODES = '/api/v1/nodes';

test('smell 12, leaks: a thousand requests share one connection', async () => {
  const transport = connect();
  server.put(`${NODES}/a`);
  for (let i = 0; i < 1_000; i++) await transport.request({ method: 'GET', path: `${NODES}/a` });
  // The next request may start before the pool has taken the connection back, so a second one is opened now and then.
  assert.ok(server.connections <= 2, `${server.connections} connections`);
});

test('parallel requests use as many connections as allowed', async () => {
  const transport = connect({ connections: 3 });
  await Promise.all(Array.from({ length: 50 }, () => transport.request({ method: 'GET', path: NODES })));
  assert.ok(server.connections <= 3, `${server.connections} connections`);
});

test('smell 4, 429 ignored: half the requests refused, none leaves within Retry-After, all succeed', async () => {
  /** When the client learned of a refusal. */
  const learned: number[] = [];
  const requestFinished = ({ code }: { code: string }) => code === '429' && learned.push(performance.now());
  const transport = connect({ metrics: { ...noMetrics, requestFinished } });
  server.fault = () =>
    server.requests.length % 2 === 0 ? undefined : { status: 429, headers: { 'retry-after': '1' } };
  // The first is refused; the others are asked for while the server wants silence, and so must wait with it.
  const first = transport.request({ method: 'GET', path: NODES });
  await waitFor(() => learned.length === 1);
  const others = ['a', 'b'].map((name) => transport.request({ method: 'GET', path: `/api/v1/${name}` }));
  await Promise.all([first, ...others]);
  for (const moment of learned) {
    // What the client had sent before may still be under way for a moment.
    const within = server.requests.filter(({ at }) => at > moment + 100 && at < moment + 980);
    assert.deepEqual(
      within.map(({ path }) => path),
      [],
    );
  }
});

test('smell 4, 429 ignored: the request rate has a bound', async () => {
  const transport = connect({ qps: 50, burst: 5 });
  const started = performance.now();
  await Promise.all(Array.from({ length: 25 }, () => transport.request({ method: 'GET', path: NODES })));
  const last = server.requests.at(-1)!.at;
  // 5 at once, 20 more at 50 a second: a lower bound, so a slow machine cannot break it.
  assert.ok(last - started >= 380, `25 requests within ${last - started} ms`);
});

test('a write is repeated when it was refused, not when its fate is unknown', async () => {
  const transport = connect();
  const leases = new Resource(transport, {
    group: 'coordination.k8s.io',
    version: 'v1',
    plural: 'leases',
    namespace: 'x',
  });
  let faults = 1;
  server.fault = ({ method }) =>
    method === 'POST' && faults-- > 0 ? { status: 429, headers: { 'retry-after': '0' } } : undefined;
  await leases.create({ apiVersion: 'v1', kind: 'Lease', metadata: { name: 'a' } });
  assert.equal(server.count('POST', /leases/), 2);
  server.fault = ({ method }) => (method === 'POST' ? 'reset' : undefined);
  await assert.rejects(leases.create({ apiVersion: 'v1', kind: 'Lease', metadata: { name: 'b' } }));
  assert.equal(server.count('POST', /leases/), 3);
});

test('reads and applies survive resets and 500', async () => {
  const transport = connect();
  const nodes = new Resource(transport, { group: '', version: 'v1', plural: 'nodes' });
  server.put(`${NODES}/a`);
  for (const fault of ['reset', { status: 500 }, { status: 503 }] as const) {
    let faults = 2;
    server.fault = () => (faults-- > 0 ? fault : undefined);
    assert.equal((await nodes.get('a')).metadata.name, 'a');
    faults = 2;
    await nodes.apply({ apiVersion: 'v1', kind: 'Node', metadata: { name: 'a' } }, { fieldManager: 'test' });
  }
});

test('a refusal says what, why and with which code', async () => {
  const transport = connect();
  await assert.rejects(transport.request({ method: 'GET', path: `${NODES}/missing` }), (error) => {
    assert.ok(error instanceof ApiError);
    assert.deepEqual([error.code, error.reason], [404, 'NotFound']);
    assert.match(error.message, /^GET \/api\/v1\/nodes\/missing: .*not found/);
    return true;
  });
  server.fault = () => ({ status: 502, body: undefined });
  await assert.rejects(transport.request({ method: 'GET', path: NODES, attempts: 1 }), { code: 502 });
});

test('a server that does not answer costs the deadline, not forever', async () => {
  const transport = connect();
  server.fault = () => 'hang';
  await assert.rejects(transport.request({ method: 'GET', path: NODES, timeoutMs: 50, attempts: 2 }), {
    name: 'TimeoutError',
  });
  assert.equal(server.requests.length, 2);
});

test('smell 11, token rotation: a refused token is read again at once', async () => {
  let token = 'old';
  let cached: string | undefined;
  const access: ClusterAccess = {
    server: server.url,
    async credentials() {
      cached ??= token;
      return { authorization: `Bearer ${cached}`, tls: {} };
    },
    invalidate() {
      cached = undefined;
    },
  };
  const transport = connect({ access });
  await transport.request({ method: 'GET', path: NODES });
  token = 'new';
  server.fault = ({ headers }) => (headers.authorization === 'Bearer new' ? undefined : { status: 401 });
  await transport.request({ method: 'GET', path: NODES });
  assert.equal(server.requests.at(-1)?.headers.authorization, 'Bearer new');
});

test('smell 5, two replicas act: a write is kept back when the guard says so, a read is not', async () => {
  const transport = connect({
    beforeWrite() {
      throw new Error('not the leader');
    },
  });
  const nodes = new Resource(transport, { group: '', version: 'v1', plural: 'nodes' });
  await transport.request({ method: 'GET', path: NODES });
  await assert.rejects(nodes.delete('a'), /not the leader/);
  await assert.rejects(
    nodes.apply({ apiVersion: 'v1', kind: 'Node', metadata: { name: 'a' } }, { fieldManager: 'x' }),
    /not the leader/,
  );
  assert.deepEqual(
    server.requests.map(({ method }) => method),
    ['GET'],
  );
});

test('aborting a request that waits for the rate limit ends it', async () => {
  const transport = connect({ qps: 0.001, burst: 1 });
  await transport.request({ method: 'GET', path: NODES });
  const abort = new AbortController();
  const waiting = transport.request({ method: 'GET', path: NODES, signal: abort.signal });
  abort.abort(new Error('enough'));
  await assert.rejects(waiting, /enough/);
});

test('requests are measured by verb and code', async () => {
  const seen: string[] = [];
  const metrics = {
    ...noMetrics,
    requestFinished: ({ verb, code }: { verb: string; code: string }) => seen.push(`${verb} ${code}`),
  };
  const transport = connect({ metrics });
  const nodes = new Resource(transport, { group: '', version: 'v1', plural: 'nodes' });
  await nodes.apply({ apiVersion: 'v1', kind: 'Node', metadata: { name: 'a' } }, { fieldManager: 'test' });
  await assert.rejects(nodes.get('b'));
  assert.deepEqual(seen, ['APPLY 200', 'GET 404']);
});

test('a server behind a path prefix is reached', async () => {
  const transport = connect({ access: plain(`${server.url}/k8s/clusters/c-1/`) });
  await transport.request({ method: 'GET', path: '/version' });
  assert.equal(server.requests[0].path, '/k8s/clusters/c-1/version');
});
