// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { WorkQueue } from '@plumbline/kube';
import { FakeClock } from '../../kube/test/fake-clock.ts';
import { runController } from './controllers/controller.ts';
import { OperatorMetrics } from './metrics.ts';
import { startTracing, tracingEndpoint } from './tracing.ts';

test('traces go nowhere unless an endpoint is set', async () => {
  assert.equal(tracingEndpoint({}), undefined);
  assert.equal(tracingEndpoint({ OTEL_EXPORTER_OTLP_ENDPOINT: 'http://x', OTEL_SDK_DISABLED: 'true' }), undefined);
  assert.equal(tracingEndpoint({ OTEL_EXPORTER_OTLP_ENDPOINT: 'http://x', OTEL_TRACES_EXPORTER: 'none' }), undefined);
  assert.equal(tracingEndpoint({ OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: 'http://x' }), 'http://x');
  await (await startTracing({}))();
});

test('reconciles are traced to the endpoint, failures with their message; a failed key is retried', async () => {
  const posts: { path: string; body: string }[] = [];
  const collector = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      posts.push({ path: request.url ?? '', body: Buffer.concat(chunks).toString('latin1') });
      response.writeHead(200, { 'content-type': 'application/x-protobuf' }).end();
    });
  });
  await new Promise<void>((resolve) => collector.listen(0, '127.0.0.1', resolve));
  const endpoint = `http://127.0.0.1:${(collector.address() as AddressInfo).port}`;
  const before = { ...process.env };
  process.env.OTEL_EXPORTER_OTLP_ENDPOINT = endpoint;
  try {
    const stopTracing = await startTracing(process.env);
    const metrics = new OperatorMetrics();
    const silent = () => {};
    const queue = new WorkQueue({ name: 'test' });
    const stop = new AbortController();
    let attempts = 0;
    const reconciler = {
      name: 'thing.verb',
      queue,
      workers: 2,
      async reconcile() {
        attempts += 1;
        if (attempts === 1) throw new Error('no luck');
        stop.abort();
        return {};
      },
    };
    queue.add('my-object');
    await runController(
      reconciler,
      { clock: new FakeClock(), log: { debug: silent, info: silent, warn: silent, error: silent }, metrics },
      stop.signal,
    );
    await stopTracing();
    assert.equal(attempts, 2);
    const text = await metrics.registry.metrics();
    assert.match(text, /reconcile_total\{controller="thing.verb",result="error"\} 1/);
    assert.match(text, /reconcile_total\{controller="thing.verb",result="success"\} 1/);
    assert.match(text, /reconcile_errors_total\{controller="thing.verb"\} 1/);
    assert.match(text, /controller_runtime_active_workers\{controller="thing.verb"\} 0/);
    const traces = posts
      .filter(({ path }) => path === '/v1/traces')
      .map(({ body }) => body)
      .join('');
    for (const word of ['thing.verb reconcile', 'my-object', 'no luck', 'plumbline-operator'])
      assert.ok(traces.includes(word), word);
    assert.deepEqual(
      posts.filter(({ path }) => path !== '/v1/traces'),
      [],
      'no metrics and no logs beside',
    );
  } finally {
    process.env = before;
    collector.closeAllConnections();
    await new Promise((resolve) => collector.close(resolve));
  }
});
