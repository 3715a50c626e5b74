// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, beforeEach, describe, test } from 'node:test';
import { type Clock, systemClock } from '../clock.ts';
import { Profile } from '../profile/profile.ts';
import { type Receiver, startGrpcReceiver, startHttpReceiver } from './otlp-receiver.ts';
import { OtlpSender, type OtlpSenderOptions } from './otlp-sender.ts';
import { type OtlpProtocol, resolveOtlpTarget } from './otlp-target.ts';

/** Does not wait where the sender pauses between tries, and writes down for how long it would have. */
class HastyClock implements Clock {
  readonly pauses: number[] = [];
  readonly wallMs = systemClock.wallMs;
  readonly monotonicNs = systemClock.monotonicNs;
  readonly every = systemClock.every;

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    if (ms === DEADLINE_MS) return systemClock.sleep(ms, signal);
    this.pauses.push(ms);
    return systemClock.sleep(1, signal);
  }
}

const DEADLINE_MS = 60_000;

function profileOf(samples: number, frames = 3): Profile {
  const profile = new Profile({ startUnixNano: 1n });
  const resource = profile.attributes.internSet({ 'process.pid': 1 });
  for (let i = 0; i < samples; i++) {
    const stack = Array.from({ length: frames }, (_, j) => profile.internSyntheticFrame(`frame ${i} ${j}`));
    profile.addSample(resource, profile.stacks.internLeafFirst(stack), {});
  }
  return profile;
}

async function until(condition: () => boolean, what: string): Promise<void> {
  const end = Date.now() + 60_000;
  while (!condition()) {
    assert.ok(Date.now() < end, `${what} did not happen in a minute`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

const folders: string[] = [];
after(() => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

function newFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'plumbline-spool-'));
  folders.push(folder);
  return folder;
}

const protocols: [OtlpProtocol, (port?: number) => Promise<Receiver>][] = [
  ['grpc', startGrpcReceiver],
  ['http', startHttpReceiver],
];

for (const [protocol, startReceiver] of protocols) {
  describe(`OTLP over ${protocol}`, () => {
    let receiver: Receiver;
    let clock: HastyClock;
    const open: OtlpSender[] = [];

    const start = async (options: Partial<OtlpSenderOptions> = {}, config = {}): Promise<OtlpSender> => {
      const env = { OTEL_EXPORTER_OTLP_HEADERS: 'authorization=Bearer%20secret,x-tenant=a' };
      const settings = { endpoint: receiver.endpoint, protocol, insecure: true, ...config };
      const target = resolveOtlpTarget(settings, env)!;
      const sender = await OtlpSender.start({ target, clock, random: () => 0, ...options });
      open.push(sender);
      return sender;
    };

    beforeEach(async () => {
      clock = new HastyClock();
      receiver = await startReceiver();
    });
    afterEach(async () => {
      for (const sender of open.splice(0)) await sender.drain(0);
      await receiver.close();
    });

    test('a profile arrives, compressed, with headers', async () => {
      const sender = await start();
      await sender.export(profileOf(3));
      await until(() => sender.statistics.requestsSent === 1, 'delivery');
      assert.equal(sender.statistics.samplesSent, 3);
      assert.equal(receiver.requests.length, 1);
      assert.ok(receiver.requests[0].includes('frame 2 1'));
      const [headers] = receiver.headers;
      assert.equal(headers.authorization, 'Bearer secret');
      assert.equal(headers['x-tenant'], 'a');
      if (protocol === 'http') {
        assert.equal(headers[':path'], '/v1development/profiles');
        assert.equal(headers['content-encoding'], 'gzip');
        assert.equal(headers['content-type'], 'application/x-protobuf');
      }
    });

    test('without compression too', async () => {
      const sender = await start({}, { compression: 'none' });
      await sender.export(profileOf(1));
      await until(() => sender.statistics.requestsSent === 1, 'delivery');
      assert.equal(receiver.headers[0]['content-encoding'], undefined);
    });

    test('a profile above the limit is split, and nothing of it is lost', async () => {
      const sender = await start({ maxRequestBytes: 4_000 });
      await sender.export(profileOf(300));
      await until(() => sender.statistics.samplesSent === 300, 'delivery');
      assert.ok(receiver.requests.length > 5);
      for (const request of receiver.requests) assert.ok(request.length <= 4_000);
      const all = Buffer.concat(receiver.requests).toString('latin1');
      for (let i = 0; i < 300; i++) assert.ok(all.includes(`frame ${i} 0`), `frame ${i}`);
    });

    test('a sample that alone is too large is counted', async () => {
      const sender = await start({ maxRequestBytes: 4_000 });
      await sender.export(profileOf(1, 1_000));
      assert.deepEqual(sender.statistics.samplesDropped, { too_large: 1 });
    });

    test('errors that pass are retried with growing pauses, and what the receiver asks for is honoured', async () => {
      receiver.answers.push(
        { kind: 'error', http: 503, grpc: 14 },
        { kind: 'error', http: 502, grpc: 10 },
        { kind: 'error', http: 504, grpc: 4 },
        { kind: 'error', http: 429, grpc: 8, retryAfterMs: 7_000 },
        { kind: 'reset' },
      );
      const sender = await start();
      await sender.export(profileOf(2));
      await until(() => sender.statistics.samplesSent === 2, 'delivery');
      assert.equal(sender.statistics.retries, 5);
      assert.deepEqual(clock.pauses, [500, 1_000, 2_000, 7_000, 8_000]);
      assert.equal(receiver.requests.length, 6);
      assert.deepEqual(sender.statistics.samplesDropped, {});
      assert.equal(sender.statistics.lastError, '');
    });

    test('a request that gets no answer is tried again after its deadline', async () => {
      receiver.answers.push({ kind: 'hang' });
      const sender = await start({}, { timeoutMs: 300 });
      await sender.export(profileOf(1));
      await until(() => sender.statistics.samplesSent === 1, 'delivery');
      assert.ok(sender.statistics.retries >= 1); // a busy machine may miss the deadline again
    });

    test('what the receiver refuses for good is dropped and counted, and the next goes through', async () => {
      receiver.answers.push(
        { kind: 'error', http: 400, grpc: 3 },
        { kind: 'error', http: 413, grpc: 8 }, // resource exhausted without advice: too large
        { kind: 'error', http: 404, grpc: 12 },
        { kind: 'error', http: 401, grpc: 16 },
      );
      const sender = await start();
      for (let i = 0; i < 5; i++) await sender.export(profileOf(10));
      await until(() => sender.statistics.samplesSent === 10, 'delivery');
      assert.deepEqual(sender.statistics.samplesDropped, { refused: 40 });
      assert.deepEqual(sender.statistics.requestsDropped, { refused: 4 });
      assert.equal(sender.statistics.retries, 0);
    });

    test('a partial success is counted and not retried', async () => {
      receiver.answers.push({ kind: 'partial', rejected: 2, message: 'two profiles are too old' });
      const sender = await start();
      await sender.export(profileOf(1));
      await until(() => sender.statistics.requestsSent === 1, 'delivery');
      assert.equal(sender.statistics.profilesRejected, 2);
      assert.equal(receiver.requests.length, 1);
    });

    test('while the receiver is away requests are on disk; a new sender delivers them in order', async () => {
      const { endpoint } = receiver;
      await receiver.close();
      const directory = newFolder();
      const spool = { directory, maxBytes: 1 << 20 };
      const first = await start({ spool }, { endpoint });
      for (let i = 1; i <= 3; i++) await first.export(profileOf(i));
      await until(() => first.statistics.retries > 2 && first.statistics.queuedBytes === 0, 'spilling');
      assert.equal(readdirSync(directory).length, 3);
      await first.drain(DEADLINE_MS);
      assert.deepEqual(first.statistics.samplesDropped, {});

      receiver = await startReceiver(Number(endpoint.split(':')[1]));
      const second = await start({ spool }, { endpoint });
      await until(() => second.statistics.samplesSent === 6, 'delivery');
      const sizes = receiver.requests.map((request) => request.length);
      assert.deepEqual(
        sizes,
        sizes.toSorted((a, b) => a - b),
      );
      await second.drain(DEADLINE_MS);
      assert.deepEqual(readdirSync(directory), []);
    });

    test('a full spool drops the oldest, counted', async () => {
      const { endpoint } = receiver;
      await receiver.close();
      const directory = newFolder();
      const sender = await start({ spool: { directory, maxBytes: 3_000 }, maxQueueBytes: 1 }, { endpoint });
      for (let i = 1; i <= 30; i++) await sender.export(profileOf(i));
      await sender.drain(DEADLINE_MS);
      const { samplesDropped, queued, spooledBytes } = sender.statistics;
      assert.ok(queued > 0 && spooledBytes <= 3_000);
      receiver = await startReceiver(Number(endpoint.split(':')[1]));
      const next = await start({ spool: { directory, maxBytes: 3_000 } }, { endpoint });
      await until(() => next.statistics.queued === 0, 'delivery');
      assert.equal(next.statistics.samplesSent + (samplesDropped.spool_full ?? 0), (30 * 31) / 2);
    });

    test('without a spool the queue is bounded, and what is lost is counted', async () => {
      const { endpoint } = receiver;
      await receiver.close();
      const sender = await start({ maxQueueBytes: 2_000 }, { endpoint });
      for (let i = 0; i < 20; i++) await sender.export(profileOf(5));
      assert.ok(sender.statistics.queuedBytes <= 2_000);
      const waiting = sender.statistics.queued * 5;
      await sender.drain(0);
      const { queue_full: full = 0, shutdown = 0 } = sender.statistics.samplesDropped;
      assert.equal(shutdown, waiting);
      assert.equal(full + shutdown, 100);
      receiver = await startReceiver();
    });

    test('drain delivers what waits, and stores what it cannot deliver in time', async () => {
      const sender = await start();
      for (let i = 0; i < 5; i++) await sender.export(profileOf(2));
      await sender.drain(DEADLINE_MS);
      assert.equal(sender.statistics.samplesSent, 10);

      receiver.answers.push({ kind: 'hang' });
      const directory = newFolder();
      const slow = await start({ spool: { directory, maxBytes: 1 << 20 } });
      await slow.export(profileOf(4));
      await slow.export(profileOf(4));
      await slow.drain(100);
      assert.equal(readdirSync(directory).length, 2);
      assert.deepEqual(slow.statistics.samplesDropped, {});
    });

    test('a spool that cannot be used is done without', async () => {
      const file = join(newFolder(), 'file');
      writeFileSync(file, '');
      const sender = await start({ spool: { directory: join(file, 'spool'), maxBytes: 1 } });
      await sender.export(profileOf(1));
      await until(() => sender.statistics.requestsSent === 1, 'delivery');
      assert.ok(!existsSync(join(file, 'spool')));
    });
  });
}
