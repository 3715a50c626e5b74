// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ProfilingPolicySpec, type RolloutStatus } from '@plumbline/api';
import fc from 'fast-check';
import type { NodeState } from './node-state.ts';
import { advanceRollout, type RolloutDecision } from './rollout.ts';

const settingsOf = (rollout: object) => ProfilingPolicySpec.parse({ target: { allPods: true }, rollout }).rollout;

/** A cluster that does what the rollout says, with agents that answer when told to. */
class Cluster {
  readonly states: NodeState[];
  readonly reporting: boolean[];
  readonly together: boolean[];
  status: RolloutStatus | undefined;
  now = Date.UTC(2026, 0, 1);
  paused = false;
  heldUpMs = 0;
  revision = 'r1';
  settings: ReturnType<typeof settingsOf>;

  constructor(size: number, rollout: object = {}) {
    this.states = Array.from({ length: size }, () => ({ kind: 'waiting' }));
    this.reporting = this.states.map(() => true);
    this.together = this.states.map(() => true);
    this.settings = settingsOf(rollout);
  }

  step(): RolloutDecision {
    if (this.status?.revision !== this.revision && !this.paused) {
      const begun = this.#decide();
      assert.deepEqual(begun.release, [], 'others that changed in the same moment are waited for');
      this.status = begun.status;
    }
    const decision = this.#decide();
    this.status = decision.status;
    for (const name of decision.release) {
      const index = Number(name.slice(1));
      assert.equal(this.states[index].kind, 'waiting', `${name} was released already`);
      this.states[index] = this.reporting[index] ? { kind: 'inFlight' } : { kind: 'notReporting' };
    }
    return decision;
  }

  #decide(): RolloutDecision {
    const nodes = this.states.map((state, index) => ({
      name: `n${index}`,
      state,
      reporting: this.reporting[index],
      claim: () => this.together[index],
    }));
    return advanceRollout({
      settings: this.settings,
      paused: this.paused,
      revision: this.revision,
      previous: this.status,
      nodes,
      now: new Date(this.now),
      heldUpMs: this.heldUpMs,
    });
  }

  /** Every agent that was given the revision answers. */
  answer(state: NodeState = { kind: 'applied' }): void {
    for (const [index, { kind }] of this.states.entries()) if (kind === 'inFlight') this.states[index] = state;
  }

  count(kind: NodeState['kind']): number {
    return this.states.filter((state) => state.kind === kind).length;
  }

  restart(revision: string): void {
    this.revision = revision;
    this.states.fill({ kind: 'waiting' });
  }
}

const refused: NodeState = { kind: 'failed', reason: 'VerifierRejected', message: 'too complex' };

test('never more nodes in flight than maxUnavailable; all get there', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 40 }),
      fc.constantFrom(1, 3, '10%', '50%'),
      fc.array(fc.boolean(), { maxLength: 200 }),
      (size, maxUnavailable, answers) => {
        const cluster = new Cluster(size, { maxUnavailable });
        const most =
          typeof maxUnavailable === 'number'
            ? maxUnavailable
            : Math.ceil((Number.parseInt(maxUnavailable, 10) / 100) * size);
        for (const answer of [...answers, ...Array.from({ length: size + 1 }, () => true)]) {
          cluster.step();
          assert.ok(cluster.count('inFlight') <= most);
          if (answer) cluster.answer();
        }
        cluster.step();
        assert.equal(cluster.status?.phase, 'Complete');
        assert.equal(cluster.count('applied'), size);
      },
    ),
  );
});

test('canaries first, then the pause, then the rest', () => {
  const cluster = new Cluster(40, { canary: { percent: 5, pause: '300s' } });
  assert.deepEqual(cluster.step().release, ['n0', 'n1']);
  assert.equal(cluster.status?.phase, 'Canary');
  cluster.answer();
  const pause = cluster.step();
  assert.deepEqual([pause.status.phase, pause.release, pause.againAfterMs], ['CanaryPause', [], 300_000]);
  cluster.now += 299_000;
  assert.deepEqual([cluster.step().release, cluster.status?.phase], [[], 'CanaryPause']);
  cluster.now += 1_000;
  assert.equal(cluster.step().release.length, 4);
  assert.equal(cluster.status?.phase, 'Rolling');
});

test('a canary that fails stops everything: rollback, and no other node was touched', () => {
  const cluster = new Cluster(40, { canary: {} });
  cluster.step();
  cluster.answer(refused);
  const { status, release } = cluster.step();
  assert.deepEqual([status.phase, release], ['RolledBack', []]);
  assert.match(status.message ?? '', /2 of 2 nodes failed, 0 allowed; n0: VerifierRejected: too complex/);
  assert.equal(cluster.count('waiting'), 38);
  cluster.now += 1e9;
  assert.deepEqual(cluster.step(), { status, release: [], freeSlots: 0 }, 'until there is a new revision');
  cluster.restart('r2');
  assert.equal(cluster.step().status.phase, 'Canary');
});

test('onFailure: Pause keeps what there is', () => {
  const cluster = new Cluster(10, { onFailure: 'Pause', maxUnavailable: 2, maxFailed: 1 });
  cluster.step();
  cluster.answer(refused);
  assert.equal(cluster.step().status.phase, 'Failed');
  assert.equal(cluster.count('waiting'), 8);
});

test('as many failures as allowed do not stop it', () => {
  const cluster = new Cluster(10, { maxUnavailable: 2, maxFailed: 2 });
  cluster.step();
  cluster.answer(refused);
  for (let i = 0; i < 10; i++) {
    cluster.step();
    cluster.answer();
  }
  assert.deepEqual([cluster.status?.phase, cluster.count('failed'), cluster.count('applied')], ['Complete', 2, 8]);
});

test('with few nodes the first failure counts', () => {
  const cluster = new Cluster(3);
  cluster.step();
  cluster.answer(refused);
  assert.equal(cluster.step().status.phase, 'RolledBack');
});

test('nodes without an agent neither hold the rollout nor count as canaries', () => {
  const cluster = new Cluster(10, { canary: { percent: 10, pause: '0s' }, maxUnavailable: 1 });
  cluster.reporting.fill(false, 0, 5);
  assert.deepEqual(cluster.step().release, ['n5']);
  cluster.answer();
  const { release } = cluster.step();
  assert.deepEqual(release, ['n0', 'n1', 'n2', 'n3', 'n4', 'n6']);
});

test('a cluster without agents gets everything at once', () => {
  const cluster = new Cluster(10, { canary: {} });
  cluster.reporting.fill(false);
  assert.equal(cluster.step().release.length, 10);
  assert.equal(cluster.step().status.phase, 'Complete');
});

test('no nodes: complete', () => {
  assert.equal(new Cluster(0).step().status.phase, 'Complete');
  assert.equal(new Cluster(0, { canary: {} }).step().status.phase, 'Complete');
});

test('paused: nothing is released, failures still stop it', () => {
  const cluster = new Cluster(10);
  cluster.step();
  cluster.paused = true;
  cluster.answer();
  assert.deepEqual(cluster.step().release, []);
  cluster.paused = false;
  assert.equal(cluster.step().release.length, 1);
});

test('a new leader goes on in the middle', () => {
  const cluster = new Cluster(10, { maxUnavailable: 2, canary: { percent: 10, pause: '60s' } });
  cluster.step();
  cluster.answer();
  cluster.step();
  const stored = JSON.parse(JSON.stringify(cluster.status)) as RolloutStatus;
  cluster.now += 30_000;
  cluster.status = stored;
  assert.equal(cluster.step().againAfterMs, 30_000);
});

test('a node that is deleted in flight does not hang the rollout', () => {
  const cluster = new Cluster(5, { maxUnavailable: 1 });
  cluster.step();
  cluster.states.shift();
  cluster.reporting.shift();
  for (let i = 0; i < 6; i++) {
    cluster.step();
    cluster.answer();
  }
  assert.equal(cluster.status?.phase, 'Complete');
});

test('nodes are taken where other policies can join in; after some patience also alone', () => {
  const cluster = new Cluster(10, { maxUnavailable: 3 });
  cluster.together.fill(false);
  cluster.together[4] = true;
  assert.deepEqual(cluster.step().release, ['n4']);
  assert.equal(cluster.step().heldUp, false, 'its own node is in flight');
  cluster.answer();
  const { release, heldUp } = cluster.step();
  assert.deepEqual([release, heldUp], [[], true]);
  cluster.heldUpMs = 30_000;
  assert.deepEqual(cluster.step().release, ['n0', 'n1', 'n2'], 'a policy that is stuck elsewhere holds nobody up');
});

test('free slots are what is left of the window', () => {
  const cluster = new Cluster(10, { maxUnavailable: 3 });
  cluster.together.fill(false);
  cluster.together[4] = true;
  assert.equal(cluster.step().freeSlots, 2);
  assert.equal(cluster.step().freeSlots, 2);
});
