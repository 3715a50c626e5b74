// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { waitUntil } from '../../../e2e/cluster/wait-until.ts';
import { FakeApiServer } from '../test/fake-api-server.ts';
import { noMetrics } from './metrics.ts';
import { type Change, Reflector, type ReflectorOptions } from './reflector.ts';
import { Transport } from './transport.ts';

const NODES = '/api/v1/nodes';

interface Item {
  name: string;
  color?: string;
}

let server: FakeApiServer;
let stop: AbortController;
let cleanUp: (() => Promise<unknown>)[];

beforeEach(async () => {
  server = await FakeApiServer.start();
  stop = new AbortController();
  cleanUp = [];
});
afterEach(async () => {
  stop.abort();
  await Promise.all(cleanUp.map((step) => step()));
  await server.stop();
});

const waitFor = (what: string, done: () => boolean) => waitUntil(what, done, { interval: 5, timeout: 20_000 });

function start(options: Partial<ReflectorOptions<Item>> = {}) {
  const transport = new Transport({
    access: { server: server.url, credentials: async () => ({ tls: {} }), invalidate() {} },
    userAgent: 'test/1',
    qps: 10_000,
    burst: 10_000,
  });
  const changes: Change<Item>[] = [];
  const errors: string[] = [];
  const reflector = new Reflector<Item>({
    transport,
    path: NODES,
    name: 'nodes',
    convert: ({ metadata, ...rest }) => ({ name: metadata.name, color: (rest as { color?: string }).color }),
    onChange: (change) => changes.push(change),
    onError: (error) => errors.push(String(error)),
    backoff: { initial: 5, max: 40 },
    ...options,
  });
  const running = reflector.run(stop.signal);
  cleanUp.push(
    () => running,
    () => transport.close(),
  );
  return { reflector, changes, errors, running };
}

const summary = (changes: Change<Item>[]) => changes.map(({ type, key }) => `${type} ${key}`);

test('lists in pages, then follows changes', async () => {
  for (let i = 0; i < 25; i++) server.put(`${NODES}/n${i}`);
  const { reflector, changes } = start({ pageSize: 10 });
  await waitFor('sync', () => reflector.synced);
  assert.equal(reflector.size, 25);
  assert.equal(server.lists, 3);
  await waitFor('watch', () => reflector.watching);
  changes.length = 0;
  server.put(`${NODES}/n0`, { color: 'red' });
  server.put(`${NODES}/new`);
  server.remove(`${NODES}/n1`);
  await waitFor('changes', () => changes.length === 3);
  assert.deepEqual(summary(changes), ['updated n0', 'added new', 'deleted n1']);
  assert.deepEqual([changes[0].previous?.color, changes[0].value.color], [undefined, 'red']);
  assert.deepEqual([reflector.get('n0')?.color, reflector.get('n1')], ['red', undefined]);
});

test('asks for bookmarks and a timeout, and with the field selector given', async () => {
  const { reflector } = start({ fieldSelector: 'metadata.name=a', fromCache: true });
  server.put(`${NODES}/a`);
  server.put(`${NODES}/b`);
  await waitFor('object', () => reflector.get('a') !== undefined);
  await waitFor('watch', () => reflector.watching);
  const [list, watch] = server.requests.map(({ query }) => query);
  assert.deepEqual([list.get('resourceVersion'), list.get('fieldSelector')], ['0', 'metadata.name=a']);
  assert.deepEqual([watch.get('allowWatchBookmarks'), watch.get('fieldSelector')], ['true', 'metadata.name=a']);
  const seconds = Number(watch.get('timeoutSeconds'));
  assert.ok(seconds >= 300 && seconds <= 600, String(seconds));
  assert.equal(reflector.size, 1);
});

test('resumes from the last bookmark without listing again', async () => {
  const { reflector } = start();
  await waitFor('watch', () => reflector.watching);
  server.bookmark();
  server.compact(); // only a watcher that took the bookmark can go on from here
  await waitFor('contact', () => server.openWatches === 1);
  server.endWatches();
  await waitFor('second watch', () => server.watches >= 2 && reflector.watching);
  server.put(`${NODES}/a`);
  await waitFor('event', () => reflector.get('a') !== undefined);
  assert.equal(server.lists, 1);
});

test('smell 1, dies quietly: connections cut, a server that is gone, 500 and 503 on list and watch', async () => {
  server.put(`${NODES}/a`);
  let fault: { status: number } | undefined = { status: 503 };
  server.fault = () => fault;
  const { reflector, errors } = start();
  await waitFor('three failures', () => errors.length >= 3);
  assert.equal(reflector.synced, false);
  fault = undefined;
  await waitFor('sync', () => reflector.synced);

  fault = { status: 500 };
  server.disconnect();
  const before = errors.length;
  await waitFor('failures of the watch', () => errors.length >= before + 3);
  fault = undefined;
  server.put(`${NODES}/b`);
  await waitFor('what was missed', () => reflector.get('b') !== undefined);

  const { port } = server;
  await server.stop();
  const gone = errors.length;
  await waitFor('failures to connect', () => errors.length >= gone + 3);
  server = await FakeApiServer.start({ port });
  server.put(`${NODES}/c`);
  server.compact();
  await waitFor('the new server', () => reflector.get('c') !== undefined);
});

test('smell 1, dies quietly: a connection that is half open is given up by the watchdog', async () => {
  const { reflector, errors } = start({ idleMs: 300 });
  await waitFor('watch', () => reflector.watching);
  await waitFor('a second watch', () => server.watches >= 2);
  assert.match(errors[0], /Body Timeout/);
  assert.equal(server.lists, 1, 'the history is still good');
  server.put(`${NODES}/a`);
  await waitFor('event', () => reflector.get('a') !== undefined);
});

for (const [title, fault] of [
  ['as an answer', undefined],
  [
    'as an event',
    { lines: ['{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"too old"}}'] },
  ],
] as const) {
  test(`smell 2, 410 storms and missed deletes: 410 ${title} gives one list and synthetic deletes`, async () => {
    server.put(`${NODES}/a`);
    server.put(`${NODES}/b`);
    const { reflector, changes } = start();
    await waitFor('watch', () => reflector.watching);
    let faults = 0;
    server.fault = ({ query }) =>
      query.has('watch') && faults++ === 0 ? (fault as { lines: string[] } | undefined) : undefined;
    changes.length = 0;
    const aUid = server.object(`${NODES}/a`)!.metadata.uid;
    server.disconnect();
    await waitFor('disconnect', () => server.openWatches === 0);
    server.remove(`${NODES}/a`);
    server.remove(`${NODES}/b`);
    server.put(`${NODES}/a`); // of the same name, another object
    server.compact();
    await waitFor('recovery', () => reflector.get('b') === undefined && reflector.watching);
    assert.equal(server.lists, 2);
    assert.notEqual(server.object(`${NODES}/a`)!.metadata.uid, aUid);
    assert.deepEqual(summary(changes), ['deleted a', 'deleted b', 'added a']);
  });
}

test('smell 2, 410 storms: a server that always says 410 is asked ever more slowly', async () => {
  server.fault = ({ query }) => (query.has('watch') ? { status: 410 } : undefined);
  const delays: number[] = [];
  const clock = {
    now: () => performance.now(),
    date: () => new Date(),
    sleep: async (ms: number) => void delays.push(ms),
  };
  const { running } = start({ clock, random: () => 0, backoff: { initial: 800, max: 30_000 } });
  await waitFor('eight lists', () => server.lists >= 8);
  stop.abort();
  await running;
  assert.deepEqual(delays.slice(0, 7), [800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000]);
});

test('a watch that ends at once and without an event is no success: no hot loop', async () => {
  server.fault = ({ query }) => (query.has('watch') ? { lines: [] } : undefined);
  const delays: number[] = [];
  let short = 0;
  const clock = {
    now: () => performance.now(),
    date: () => new Date(),
    sleep: async (ms: number) => void delays.push(ms),
  };
  const { running } = start({
    clock,
    random: () => 0,
    backoff: { initial: 800, max: 30_000 },
    metrics: { ...noMetrics, shortWatch: () => short++ },
  });
  await waitFor('six watches', () => server.watches >= 6);
  stop.abort();
  await running;
  assert.deepEqual(delays.slice(0, 5), [800, 1_600, 3_200, 6_400, 12_800]);
  assert.ok(short >= 5);
});

for (const [title, line] of [
  ['is no JSON', '{"type":"ADDED","obj'],
  ['has no metadata', '{"type":"ADDED","object":{}}'],
  ['is an unknown error', '{"type":"ERROR","object":{"code":500,"message":"etcd says no"}}'],
  ['is empty', 'null'],
] as const) {
  test(`an event that ${title} does not end the reflector, and is not believed for ever`, async () => {
    let faults = 0;
    server.fault = ({ query }) => (query.has('watch') && faults++ < 12 ? { lines: [line] } : undefined);
    const { reflector, errors } = start();
    await waitFor('recovery', () => reflector.watching);
    server.put(`${NODES}/a`);
    await waitFor('event', () => reflector.get('a') !== undefined);
    assert.ok(errors.length >= 12);
    assert.ok(server.lists >= 2, 'listed again after it did not help to ask from the same place');
  });
}

test('smell 3, down at the start: waits for the server', async () => {
  const { port } = server;
  await server.stop();
  const { reflector, errors } = start();
  await waitFor('failures', () => errors.length >= 3);
  assert.equal(reflector.synced, false);
  server = await FakeApiServer.start({ port });
  await waitFor('sync', () => reflector.synced);
});

test('smell 10, resource missing: waits, and starts when it is installed', async () => {
  server.fault = ({ path }) => (path === NODES ? { status: 404, body: { code: 404, reason: 'NotFound' } } : undefined);
  const { reflector, errors } = start();
  await waitFor('failures', () => errors.length >= 3);
  server.fault = () => undefined;
  server.put(`${NODES}/a`);
  await waitFor('object', () => reflector.get('a') !== undefined);
});

test('a handler that throws is reported, counted and survived', async () => {
  let reasons = 0;
  const metrics = {
    ...noMetrics,
    reflectorFailed: ({ reason }: { reason: string }) => void (reason === 'handler' && reasons++),
  };
  const { reflector, errors } = start({
    metrics,
    onChange() {
      throw new Error('mistake in the handler');
    },
  });
  await waitFor('watch', () => reflector.watching);
  server.put(`${NODES}/a`);
  server.put(`${NODES}/b`);
  await waitFor('both', () => reflector.size === 2);
  assert.deepEqual(errors, ['Error: mistake in the handler', 'Error: mistake in the handler']);
  assert.equal(reasons, 2);
  assert.equal(server.watches, 1);
});

test('stopping while a list is in flight opens no watch', async () => {
  server.fault = () => 'hang';
  const { running } = start();
  await waitFor('list', () => server.lists === 1);
  stop.abort();
  await running;
  assert.equal(server.watches, 0);
});

test('stopping a live watch closes it', async () => {
  const { reflector, running } = start();
  await waitFor('watch', () => reflector.watching);
  stop.abort();
  await running;
  await waitFor('closed watch', () => server.openWatches === 0);
  assert.equal(reflector.watching, false);
});

test('smell 12, leaks: reconnecting a thousand times leaves no sockets behind', async () => {
  const { reflector } = start({ backoff: { initial: 0, max: 1 } });
  await waitFor('watch', () => reflector.watching);
  server.fault = ({ query }) =>
    query.has('watch') && server.watches < 1_000
      ? { lines: ['{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"1"}}}'] }
      : undefined;
  server.endWatches();
  await waitFor('a thousand watches', () => server.watches >= 1_000 && reflector.watching);
  assert.ok(server.openSockets <= 3, `${server.openSockets} sockets open`);
  assert.ok(server.connections <= 10, `${server.connections} connections made`);
  server.put(`${NODES}/a`);
  await waitFor('event', () => reflector.get('a') !== undefined);
});
