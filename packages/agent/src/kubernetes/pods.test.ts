// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { Transport } from '@plumbline/kube';
import { waitUntil } from '../../../../e2e/cluster/wait-until.ts';
import { FakeApiServer } from '../../../kube/test/fake-api-server.ts';
import { ManualClock } from '../clock.ts';
import { silentLogger } from '../log.ts';
import { NodePods } from './pods.ts';

const ID = (digit: string) => digit.repeat(64);
const PATH = '/api/v1/namespaces/shop/pods/api-0';
const UID = '0f4e7a5c-1111-2222-3333-444455556666';

describe('NodePods', () => {
  let server: FakeApiServer;
  let clock: ManualClock;
  let pods: NodePods;
  let stop: AbortController;
  let running: Promise<void>;
  let transport: Transport;
  let told: number;
  let directory: string;
  let make: () => NodePods;

  const put = (containerIds: string[], nodeName = 'node-0') =>
    server.put(PATH, {
      metadata: { uid: UID, labels: { app: 'api' } },
      spec: { nodeName, containers: [{ name: 'main' }] },
      status: { containerStatuses: containerIds.map((id) => ({ name: 'main', containerID: `containerd://${id}` })) },
    });
  const known = (what: string, check: () => boolean) => waitUntil(what, check, { interval: 5, timeout: 20_000 });

  beforeEach(async () => {
    server = await FakeApiServer.start();
    clock = new ManualClock(1_000_000);
    stop = new AbortController();
    told = 0;
    transport = new Transport({
      access: { server: server.url, credentials: async () => ({ tls: {} }), invalidate() {} },
      userAgent: 'test/1',
    });
    // The fake server knows no collection over all namespaces.
    const reflector = { path: '/api/v1/namespaces/shop/pods' };
    directory = mkdtempSync(join(tmpdir(), 'plumbline-pods-'));
    make = () =>
      new NodePods({
        transport,
        nodeName: 'node-0',
        stateDirectory: directory,
        log: silentLogger,
        clock,
        reflector: { ...reflector, backoff: { initial: 5, max: 40 } },
      });
    pods = make();
    pods.onChange(() => told++);
    running = pods.run(stop.signal);
  });
  afterEach(async () => {
    stop.abort();
    await clock.advance(1_000);
    await running;
    await transport.close();
    await server.stop();
    rmSync(directory, { recursive: true });
  });

  it('asks for the pods of its node alone, and from the cache of the server', async () => {
    await known('a watch', () => server.openWatches === 1);
    const [list, watch] = server.requests.filter(({ path }) => path.endsWith('/pods'));
    assert.equal(list.query.get('fieldSelector'), 'spec.nodeName=node-0');
    assert.equal(list.query.get('resourceVersion'), '0');
    assert.equal(watch.query.get('fieldSelector'), 'spec.nodeName=node-0');
    assert.equal(server.requests.length, 2);
  });

  it('finds a pod by the id of a container, and before its status has one by the uid in the path', async () => {
    await known('a watch', () => server.openWatches === 1);
    put([]);
    await known('the pod', () => pods.find(ID('a'), UID) !== undefined);
    assert.equal(pods.find(ID('a'), UID)?.containerName, undefined);
    assert.equal(pods.find(ID('a')), undefined);
    put([ID('a')]);
    await known('the container', () => pods.find(ID('a'))?.containerName === 'main');
    assert.deepEqual(pods.find(ID('a'))?.pod.labels, { app: 'api' });
  });

  it('keeps a minute what is gone', async () => {
    await known('a watch', () => server.openWatches === 1);
    put([ID('a')]);
    await known('the container', () => pods.find(ID('a')) !== undefined);
    put([ID('b')]);
    await known('its successor', () => pods.find(ID('b')) !== undefined);
    await clock.advance(50_000);
    assert.ok(pods.find(ID('a')), 'samples of it are on their way');
    await clock.advance(30_000);
    assert.equal(pods.find(ID('a')), undefined);
    assert.ok(pods.find(ID('b')));

    server.remove(PATH);
    await known('the end', () => [...pods.values()].length === 0);
    assert.ok(pods.find(ID('b'), UID));
    await clock.advance(80_000);
    assert.equal(pods.find(ID('b'), UID), undefined);
  });

  it('knows the pods of the last start while the API server is away, and forgets those that are gone', async () => {
    await known('a watch', () => server.openWatches === 1);
    put([ID('a')]);
    await known('the container', () => pods.find(ID('a')) !== undefined);
    await clock.advance(20_000);
    stop.abort();
    await running;

    server.fault = () => ({ status: 500 });
    stop = new AbortController();
    pods = make();
    running = pods.run(stop.signal);
    assert.equal(pods.find(ID('a'))?.containerName, 'main');
    assert.deepEqual(pods.find(ID('a'))?.pod.labels, { app: 'api' });
    await clock.advance(300_000);
    assert.ok(pods.find(ID('b'), UID), 'as long as the API server is away');

    server.remove(PATH);
    server.fault = () => undefined;
    await known('a watch', () => pods.watching);
    await clock.advance(80_000);
    assert.equal(pods.find(ID('a'), UID), undefined);
  });

  it('does without a file of pods that is damaged', async () => {
    stop.abort();
    await running;
    for (const text of ['', '{', '[1]', '{"layout":1,"node":"node-0","pods":[{"pod":1}]}', 'null']) {
      writeFileSync(join(directory, 'pods.json'), text);
      stop = new AbortController();
      pods = make();
      running = pods.run(stop.signal);
      assert.equal(pods.find(ID('a'), UID), undefined);
      stop.abort();
      await running;
    }
  });

  it('tells once of changes that come together', async () => {
    await known('a watch', () => server.openWatches === 1);
    for (const id of ['a', 'b', 'c']) put([ID(id)]);
    await known('the last one', () => pods.find(ID('c')) !== undefined);
    assert.equal(told, 0);
    await clock.advance(200);
    assert.equal(told, 1);
    put([ID('d')]);
    await known('one more', () => pods.find(ID('d')) !== undefined);
    await clock.advance(200);
    assert.equal(told, 2);
  });
});
