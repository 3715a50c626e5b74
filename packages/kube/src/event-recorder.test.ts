// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { FakeApiServer } from '../test/fake-api-server.ts';
import { FakeClock } from '../test/fake-clock.ts';
import { EventRecorder } from './event-recorder.ts';
import { Transport } from './transport.ts';

let server: FakeApiServer;
let transport: Transport;
let clock: FakeClock;
let recorder: EventRecorder;
const errors: unknown[] = [];

beforeEach(async () => {
  server = await FakeApiServer.start();
  const access = { server: server.url, credentials: async () => ({ tls: {} }), invalidate() {} };
  transport = new Transport({ access, userAgent: 'test/1', qps: 1_000, burst: 1_000 });
  clock = new FakeClock();
  errors.length = 0;
  recorder = new EventRecorder({
    transport,
    controller: 'test/operator',
    instance: 'pod-0',
    clock,
    onError: (error) => errors.push(error),
  });
});
afterEach(async () => {
  await transport.close();
  await server.stop();
});

const event = (note: string, uid = 'uid-1') => ({
  regarding: { apiVersion: 'v1', kind: 'Thing', name: 'thing', uid },
  type: 'Warning' as const,
  reason: 'Failed',
  action: 'Try',
  note,
});
const creates = () => server.count('POST', /events/);

test('an event carries what events.k8s.io demands', async () => {
  recorder.record(event('x'.repeat(2_000)));
  await recorder.flush();
  const [written] = server.objects('/apis/events.k8s.io/v1/namespaces/default/events');
  const { metadata, eventTime, note, ...rest } = written as unknown as Record<string, unknown>;
  assert.match((metadata as { name: string }).name, /^thing\.[0-9a-f]{16}$/);
  assert.match(String(eventTime), /^2026-01-01T00:00:00\.\d{6}Z$/);
  assert.equal(String(note).length, 1_024);
  assert.deepEqual(rest, {
    apiVersion: 'events.k8s.io/v1',
    kind: 'Event',
    reportingController: 'test/operator',
    reportingInstance: 'pod-0',
    type: 'Warning',
    reason: 'Failed',
    action: 'Try',
    regarding: { apiVersion: 'v1', kind: 'Thing', name: 'thing', uid: 'uid-1' },
  });
});

test('smell 15, spam: five thousand repetitions are one event and a count a minute', async () => {
  for (let i = 0; i < 5_000; i++) {
    recorder.record(event('the same'));
    await clock.advance(100); // 500 seconds
  }
  await recorder.flush();
  assert.equal(creates(), 1);
  const patches = server.count('PATCH', /events/);
  assert.ok(patches >= 7 && patches <= 9, `${patches} patches`);
});

test('smell 15, spam: one object cannot flood with ever new words', async () => {
  for (let i = 0; i < 100; i++) recorder.record(event(`attempt ${i}`));
  recorder.record(event('another object', 'uid-2'));
  await recorder.flush();
  assert.equal(creates(), 6);
  await clock.advance(300_000);
  recorder.record(event('later'));
  await recorder.flush();
  assert.equal(creates(), 7);
});

test('a repetition after a long time is a new event', async () => {
  recorder.record(event('the same'));
  await clock.advance(700_000);
  recorder.record(event('the same'));
  await recorder.flush();
  assert.equal(creates(), 2);
});

test('a server that refuses costs an error report, nothing else', async () => {
  server.fault = () => ({ status: 403 });
  recorder.record(event('a'));
  await recorder.flush();
  assert.equal(errors.length, 1);
});
