// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import fc from 'fast-check';
import { FakeClock } from '../test/fake-clock.ts';
import { noMetrics } from './metrics.ts';
import { WorkQueue } from './work-queue.ts';

test('a key that is added again waits once, and comes again after it is done', async () => {
  const queue = new WorkQueue({ name: 'test' });
  queue.add('a');
  queue.add('a');
  assert.equal(queue.depth, 1);
  assert.equal(await queue.take(), 'a');
  queue.add('a');
  queue.add('a');
  assert.equal(queue.depth, 0, 'not while it is being worked on');
  queue.done('a');
  assert.equal(await queue.take(), 'a');
  queue.done('a');
  assert.equal(queue.depth, 0);
});

test('of several delays the soonest counts', async () => {
  const clock = new FakeClock();
  const queue = new WorkQueue({ name: 'test', clock });
  queue.addAfter('a', 1_000);
  queue.addAfter('a', 100);
  queue.addAfter('a', 5_000);
  await clock.advance(99);
  assert.equal(queue.depth, 0);
  await clock.advance(1);
  assert.equal(queue.depth, 1);
  assert.equal(await queue.take(), 'a');
  queue.done('a');
  await clock.advance(10_000);
  assert.equal(queue.depth, 0);
});

test('failures of a key come later and later, until it succeeds', async () => {
  const clock = new FakeClock();
  const queue = new WorkQueue({ name: 'test', clock, initialDelayMs: 5, maxDelayMs: 1_000 });
  const delays: number[] = [];
  for (let i = 0; i < 10; i++) {
    const before = clock.now();
    queue.addRateLimited('a');
    while (queue.depth === 0) await clock.advance(1);
    delays.push(clock.now() - before);
    queue.done((await queue.take())!);
  }
  assert.deepEqual(delays, [5, 10, 20, 40, 80, 160, 320, 640, 1_000, 1_000]);
  queue.forget('a');
  queue.addRateLimited('a');
  await clock.advance(5);
  assert.equal(queue.depth, 1);
});

test('closing wakes those who wait and forgets the rest', async () => {
  const queue = new WorkQueue({ name: 'test' });
  const waiting = [queue.take(), queue.take()];
  queue.close();
  queue.add('a');
  queue.addAfter('b', 1);
  assert.deepEqual(await Promise.all([...waiting, queue.take()]), [undefined, undefined, undefined]);
});

test('metrics tell depth, adds and retries', async () => {
  const seen: string[] = [];
  const metrics = {
    ...noMetrics,
    queueDepth: ({ depth, added }: { depth: number; added: boolean }) =>
      seen.push(`${added ? 'add' : 'take'} ${depth}`),
    queueRetried: () => seen.push('retry'),
  };
  const queue = new WorkQueue({ name: 'test', metrics });
  queue.add('a');
  queue.add('b');
  queue.done((await queue.take())!);
  queue.addRateLimited('a');
  assert.deepEqual(seen, ['add 1', 'add 2', 'take 1', 'retry']);
  queue.close();
});

test('no key is worked on twice at a time, and none is forgotten', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.constantFrom('a', 'b', 'c'), { maxLength: 60 }),
      fc.scheduler(),
      async (keys, scheduler) => {
        const queue = new WorkQueue({ name: 'test' });
        const active = new Set<string>();
        /** What was asked for and has not been started since. */
        const owed = new Set<string>();
        const worker = async () => {
          for (let key = await queue.take(); key !== undefined; key = await queue.take()) {
            assert.ok(!active.has(key), `${key} twice at a time`);
            active.add(key);
            owed.delete(key);
            await scheduler.schedule(Promise.resolve());
            active.delete(key);
            queue.done(key);
          }
        };
        const workers = [worker(), worker(), worker()];
        const adding = (async () => {
          for (const key of keys) {
            await scheduler.schedule(Promise.resolve());
            owed.add(key);
            queue.add(key);
          }
        })();
        await scheduler.waitFor(adding);
        for (let i = 0; i < 200 && (active.size > 0 || owed.size > 0); i++) {
          if (scheduler.count() > 0) await scheduler.waitOne();
          await turn();
        }
        assert.deepEqual([...owed], []);
        queue.close();
        await Promise.all(workers);
      },
    ),
    { numRuns: 50 },
  );
});
