// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { waitUntil } from '../../../e2e/cluster/wait-until.ts';
import { FakeApiServer } from '../test/fake-api-server.ts';
import { FakeClock } from '../test/fake-clock.ts';
import { LeaderElector, LeadershipLostError } from './lease.ts';
import { Transport } from './transport.ts';

const LEASE = '/apis/coordination.k8s.io/v1/namespaces/plumbline/leases/operator';
const HOUR = 3_600_000;

let server: FakeApiServer;
let stop: AbortController;
let transports: Transport[];

beforeEach(async () => {
  server = await FakeApiServer.start();
  stop = new AbortController();
  transports = [];
});
afterEach(async () => {
  stop.abort();
  await Promise.all(transports.map((transport) => transport.close()));
  await server.stop();
});

interface Candidate {
  clock: FakeClock;
  elector: LeaderElector;
  acquired: boolean;
  lost: unknown;
  stopped: AbortController;
  held: Promise<void>;
}

function candidate(identity: string, skew = 0): Candidate {
  const clock = new FakeClock();
  clock.skew = skew;
  const transport = new Transport({
    access: { server: server.url, credentials: async () => ({ tls: {} }), invalidate() {} },
    userAgent: 'test/1',
    qps: 10_000,
    burst: 10_000,
  });
  transports.push(transport);
  const elector = new LeaderElector({
    transport,
    namespace: 'plumbline',
    name: 'operator',
    identity,
    clock,
    random: () => 0,
  });
  const stopped = new AbortController();
  stop.signal.addEventListener('abort', () => stopped.abort());
  const self: Candidate = { clock, elector, acquired: false, lost: undefined, stopped, held: Promise.resolve() };
  self.held = elector
    .acquire(stopped.signal)
    .then(() => {
      self.acquired = true;
      return elector.hold(stopped.signal);
    })
    .catch((error: unknown) => {
      self.lost = error;
    });
  return self;
}

/** Lets time pass for all, a tenth of a second at a time, and requests finish in between. */
async function pass(ms: number, ...candidates: Candidate[]): Promise<void> {
  for (let passed = 0; passed < ms; passed += 500) {
    const before = server.requests.length;
    await Promise.all(candidates.map(({ clock }) => clock.advance(500)));
    // A woken candidate reads and writes; wait until the server has been quiet for a moment.
    let quiet = 0;
    let seen = before;
    await waitUntil(
      'requests to finish',
      () => {
        quiet = server.requests.length === seen ? quiet + 1 : 0;
        seen = server.requests.length;
        return quiet >= 3;
      },
      { interval: 2 },
    );
  }
}

const holder = () => (server.object(LEASE)?.spec as { holderIdentity?: string } | undefined)?.holderIdentity;

test('the first takes the lease and renews it, the second waits', async () => {
  const a = candidate('a');
  await pass(1_000, a);
  assert.ok(a.acquired && a.elector.leading);
  const b = candidate('b');
  await pass(60_000, a, b);
  assert.deepEqual([a.elector.leading, b.acquired, holder()], [true, false, 'a']);
  assert.equal(b.elector.holder, 'a');
});

test('smell 6, clock skew: an hour either way makes no second leader and no flapping', async () => {
  for (const skew of [HOUR, -HOUR]) {
    const a = candidate(`a${skew}`, skew);
    await pass(1_000, a);
    const b = candidate(`b${skew}`);
    for (let i = 0; i < 20; i++) {
      await pass(3_000, a, b);
      assert.ok(!(a.elector.leading && b.elector.leading));
    }
    assert.deepEqual([a.elector.leading, b.acquired], [true, false]);
    a.stopped.abort();
    await a.held;
    await pass(6_000, b);
    assert.ok(b.elector.leading, 'the next one takes over');
    b.stopped.abort();
    await b.held;
  }
});

test('smell 5, two replicas act: a leader that was stopped for half a minute does not lead when it wakes', async () => {
  const a = candidate('a');
  await pass(1_000, a);
  const b = candidate('b');
  await pass(3_000, a, b);
  a.clock.jump(30_000); // SIGSTOP: its clock goes on, its timers do not
  await pass(30_000, b);
  assert.ok(b.elector.leading, 'the other took over');
  assert.equal(a.elector.leading, false, 'before any of its timers ran');
  await pass(3_000, a);
  await a.held;
  assert.ok(a.lost instanceof LeadershipLostError, String(a.lost));
  assert.equal(holder(), 'b');
});

test('a leader that cannot reach the server stops before its lease is over', async () => {
  const a = candidate('a');
  await pass(1_000, a);
  server.fault = () => ({ status: 500 });
  const since = a.clock.now();
  while (a.elector.leading) await pass(500, a);
  const after = a.clock.now() - since;
  assert.ok(after <= 10_500, `led for ${after} ms without a renewal`);
});

test('giving the lease away lets the next one in at once', async () => {
  const a = candidate('a');
  await pass(1_000, a);
  const b = candidate('b');
  await pass(2_500, a, b);
  a.stopped.abort();
  await a.held;
  assert.equal(a.lost, undefined);
  assert.equal(holder(), undefined);
  await pass(2_500, b);
  assert.deepEqual([b.elector.leading, holder()], [true, 'b']);
  assert.equal((server.object(LEASE)!.spec as { leaseTransitions: number }).leaseTransitions, 1);
});

test('two that start together: one leads', async () => {
  for (let round = 0; round < 5; round++) {
    const candidates = [candidate(`x${round}`), candidate(`y${round}`), candidate(`z${round}`)];
    await pass(3_000, ...candidates);
    assert.equal(candidates.filter(({ elector }) => elector.leading).length, 1);
    for (const { stopped, held } of candidates) {
      stopped.abort();
      await held;
    }
  }
});

test('durations in the wrong order are refused', () => {
  const transport = {} as Transport;
  const make = (times: object) => new LeaderElector({ transport, namespace: 'a', name: 'b', identity: 'c', ...times });
  assert.throws(() => make({ leaseDurationMs: 10_000, renewDeadlineMs: 10_000 }), RangeError);
  assert.throws(() => make({ renewDeadlineMs: 2_000, retryPeriodMs: 2_000 }), RangeError);
});
