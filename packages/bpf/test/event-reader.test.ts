// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { afterEach, before, beforeEach, describe, test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { BpfMap, BpfObject, type EventBatch, EventReader, type EventReaderOptions } from '../src/index.ts';
import { kernelDescriptors, needsBpf, testObject, until } from './kernel.ts';

const words = (...values: number[]) => new Uint8Array(BigUint64Array.from(values, BigInt).buffer);
const NO_WAKEUP = 1;
const FORCE_WAKEUP = 2;
/** What one run of `produce` writes at most. */
const RUN = 512;

describe('EventReader on a BPF ring buffer', needsBpf(), () => {
  let path: string;
  let object: BpfObject;
  before(() => {
    path = testObject('ring');
  });
  beforeEach(() => {
    object = BpfObject.open(path);
    object.setAutoload('from_the_future', false);
    object.load();
  });
  afterEach(() => object.close());

  const produce = (count: number, size = 0, flags = NO_WAKEUP) =>
    object.program('produce').testRun({ context: words(count, size, flags) });

  /** A reader that does not keep the process alive when a test fails before closing it. */
  function open(options: EventReaderOptions): EventReader {
    const reader = EventReader.open(options);
    reader.unref();
    return reader;
  }

  /** Checks every record, and counts them by their sequence numbers. */
  class Receiver {
    readonly seen: number[] = [];
    receive = ({ kind, records, view, offsets, count }: EventBatch): void => {
      assert.equal(kind, 'ring');
      assert.ok(count > 0 && count < offsets.length);
      for (let i = 0; i < count; i++) {
        const start = offsets[i];
        assert.equal(start % 8, 0);
        const size = Number(view.getBigUint64(start + 8, true));
        assert.equal(offsets[i + 1] - start, Math.ceil(size / 8) * 8);
        this.seen.push(Number(records.readBigUInt64LE(start)));
      }
    };
  }

  test('delivers 300,000 records of all sizes, none lost, in order', async () => {
    const receiver = new Receiver();
    const reader = open({ ring: object.map('ring'), spacingMs: 0, onBatch: receiver.receive });
    let written = 0;
    while (written < 300_000) {
      produce(RUN - 1, written % 1024);
      produce(1, 0, FORCE_WAKEUP);
      written += RUN;
      // The ring holds 1,956 of them, and another run comes: let the reader keep up, as with any sane sampler.
      await until(() => written - receiver.seen.length < 1000, 'records arrive');
    }
    assert.equal(await reader.flush(), true);
    assert.equal(object.readGlobal('dropped'), 0n);
    assert.equal(receiver.seen.length, written);
    assert.ok(receiver.seen.every((sequence, index) => sequence === index));
    const statistics = reader.statistics();
    assert.equal(statistics.ringRecords, written);
    assert.equal(statistics.ringOversized, 0);
    await reader.close();
    assert.equal(reader.statistics().undeliveredBytes, 0);
  });

  test('records without a wake-up come by the timer, those with one at once', async () => {
    const receiver = new Receiver();
    const reader = open({ ring: object.map('ring'), onBatch: receiver.receive, intervalMs: 60_000 });
    await reader.flush(); // the first look into the ring is over
    produce(3);
    const waiting = reader.statistics().ringRecords;
    produce(1, 0, FORCE_WAKEUP);
    await until(() => receiver.seen.length === 4, 'the wake-up is heard');
    assert.equal(waiting, 0);
    await reader.close();

    const timed = open({ ring: object.map('ring'), onBatch: receiver.receive, intervalMs: 20 });
    await timed.flush();
    produce(2);
    await until(() => receiver.seen.length === 6, 'the timer runs out');
    await timed.close();
  });

  test('the kernel is heard also where it wakes only for the first of many', async () => {
    const receiver = new Receiver();
    const reader = open({ ring: object.map('ring'), onBatch: receiver.receive, intervalMs: 60_000 });
    for (let i = 1; i <= 200; i++) {
      produce(1, 0, 0);
      if (i % 3 === 0) await until(() => receiver.seen.length >= i - 2, 'records arrive');
    }
    await until(() => receiver.seen.length === 200, 'the last one arrives');
    await reader.close();
  });

  test('records that BPF gave up are counted, not delivered', async () => {
    const receiver = new Receiver();
    const reader = open({ ring: object.map('ring'), onBatch: receiver.receive });
    produce(2);
    object.program('discard').testRun({ context: words() });
    produce(2);
    await reader.flush();
    assert.deepEqual(receiver.seen, [0, 1, 2, 3]);
    assert.equal(reader.statistics().ringDiscarded, 1);
    await reader.close();
  });

  test('a receiver that holds all buffers lets the ring fill; the kernel counts what does not fit', async () => {
    const receiver = new Receiver();
    let release!: () => void;
    const gate = new Promise<void>((resolve) => {
      release = resolve;
    });
    const reader = open({
      ring: object.map('ring'),
      buffers: 2,
      bufferBytes: 64 << 10,
      spacingMs: 0,
      onBatch: async (batch) => {
        receiver.receive(batch);
        await gate;
      },
    });
    let written = 0;
    while (object.readGlobal('dropped') === 0n) {
      produce(RUN);
      written += RUN;
      await until(() => true, 'a turn of the loop');
      assert.ok(written < 100_000);
    }
    assert.equal(await reader.flush({ timeoutMs: 20 }), false);
    assert.ok(reader.statistics().stalls > 0);
    release();
    assert.equal(await reader.flush(), true);
    const dropped = Number(object.readGlobal('dropped'));
    assert.equal(receiver.seen.length + dropped, written);
    assert.equal(new Set(receiver.seen).size, receiver.seen.length);
    // And it goes on as if nothing had been.
    produce(10);
    assert.equal(await reader.flush(), true);
    assert.equal(receiver.seen.length + dropped, written + 10);
    await reader.close();
  });

  test('close delivers what is in the ring', async () => {
    const receiver = new Receiver();
    const reader = open({ ring: object.map('ring'), onBatch: receiver.receive, intervalMs: 60_000 });
    produce(500);
    await reader.close();
    assert.equal(receiver.seen.length, 500);
    await reader.close();
    await assert.rejects(() => reader.flush(), { code: 'CLOSED' });
    assert.throws(() => reader.unref(), { code: 'EBADF' });
  });

  test('close with a stuck receiver counts what stays behind', async () => {
    let release!: () => void;
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    const reader = open({ ring: object.map('ring'), buffers: 1, onBatch: () => held });
    produce(5, 0, FORCE_WAKEUP);
    await until(() => reader.statistics().batches === 1, 'the buffer is taken');
    produce(5, 0, FORCE_WAKEUP);
    const closing = reader.close({ timeoutMs: 20 });
    await until(() => reader.statistics().undeliveredBytes > 0, 'the reader gives up');
    release();
    await closing;
    assert.equal(reader.statistics().ringRecords, 5);
  });

  test('what the receiver throws is an uncaught exception, and the reader goes on', async () => {
    let thrown = 0;
    const seen: number[] = [];
    const uncaught = (error: Error) => {
      assert.equal(error.message, 'of the receiver');
      thrown++;
    };
    const others = process.listeners('uncaughtException');
    process.removeAllListeners('uncaughtException');
    process.on('uncaughtException', uncaught);
    try {
      const reader = open({
        ring: object.map('ring'),
        buffers: 1,
        onBatch: ({ count }) => {
          seen.push(count);
          throw new Error('of the receiver');
        },
      });
      for (let i = 0; i < 3; i++) {
        produce(1);
        await reader.flush();
      }
      await reader.close();
    } finally {
      process.off('uncaughtException', uncaught);
      for (const listener of others) process.on('uncaughtException', listener);
    }
    assert.deepEqual(seen, [1, 1, 1]);
    assert.equal(thrown, 3);
  });

  test('mistakes are told', () => {
    const onBatch = () => {};
    const ring = object.map('ring');
    assert.throws(() => EventReader.open({ onBatch }), { name: 'TypeError', message: /ring, sideBand, or both/ });
    assert.throws(() => EventReader.open({ ring: object.map('hits'), onBatch }), {
      name: 'TypeError',
      message: /hits is not a ring buffer/,
    });
    assert.throws(() => EventReader.open({ ring, onBatch: 5 as never }), { name: 'TypeError' });
    assert.throws(() => EventReader.open({ ring, onBatch, bufferBytes: 100 }), {
      name: 'RangeError',
      message: /bufferBytes/,
    });
    assert.throws(() => EventReader.open({ ring, onBatch, buffers: 0 }), { name: 'RangeError' });
    assert.throws(() => EventReader.open({ sideBand: { pages: 3 }, onBatch }), {
      name: 'RangeError',
      message: /power of two/,
    });
    const closed = BpfMap.create({ type: 'ringBuffer', keySize: 0, valueSize: 0, maxEntries: 4096 });
    closed.close();
    assert.throws(() => EventReader.open({ ring: closed, onBatch }), { code: 'EBADF' });
  });

  test('the map may be closed before the reader', async () => {
    const receiver = new Receiver();
    const reader = open({ ring: object.map('ring'), onBatch: receiver.receive });
    produce(7);
    object.close();
    await reader.close();
    assert.equal(receiver.seen.length, 7);
  });

  test('opening and closing leaves no descriptor behind', async () => {
    const before = kernelDescriptors().length;
    for (let i = 0; i < 20; i++) {
      const reader = open({ ring: object.map('ring'), sideBand: true, onBatch: () => {} });
      produce(20);
      await reader.close();
    }
    // The map was taken from the object in the first round.
    assert.ok(kernelDescriptors().length <= before + 2);
  });

  test('a worker that is terminated takes its reader with it', async () => {
    const source = `
      const { workerData, parentPort } = require('node:worker_threads');
      import(workerData.index).then(({ BpfMap, EventReader }) => {
        const ring = BpfMap.create({ type: 'ringBuffer', keySize: 0, valueSize: 0, maxEntries: 4096 });
        EventReader.open({ ring, sideBand: true, onBatch() {} });
        parentPort.postMessage('open');
      });`;
    const before = kernelDescriptors().length;
    for (let i = 0; i < 3; i++) {
      const worker = new Worker(source, {
        eval: true,
        workerData: { index: new URL('../src/index.ts', import.meta.url).href },
      });
      const [message] = await once(worker, 'message');
      const opened = kernelDescriptors().length - before;
      await worker.terminate();
      assert.equal(message, 'open');
      assert.ok(opened > 0);
    }
    await until(() => kernelDescriptors().length <= before, 'descriptors are closed');
  });

  test('a process may end with an open reader', () => {
    const script = (end: string) => `
      import { BpfMap, EventReader } from ${JSON.stringify(new URL('../src/index.ts', import.meta.url).href)};
      const ring = BpfMap.create({ type: 'ringBuffer', keySize: 0, valueSize: 0, maxEntries: 4096 });
      const reader = EventReader.open({ ring, sideBand: true, onBatch() {} });
      ${end}`;
    for (const end of [
      'process.exit(3);',
      'reader.unref(); process.exitCode = 3;',
      'await reader.close(); process.exitCode = 3;',
      'reader.unref(); await reader.flush(); await reader.close(); process.exitCode = 3;',
    ]) {
      const child = spawnSync(process.execPath, ['--input-type=module', '-e', script(end)], {
        timeout: 20_000,
        encoding: 'utf8',
      });
      assert.equal(child.status, 3, `${end} ${child.signal} ${child.stderr}`);
    }
  });
});
