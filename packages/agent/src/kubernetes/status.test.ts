// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import {
  findCondition,
  NodeProfilingConfigStatus,
  parseNodeProfilingSpec,
  type NodeProfilingConfigStatus as Status,
} from '@plumbline/api';
import { reasons } from '@plumbline/bpf';
import { ApiError, type Resource } from '@plumbline/kube';
import { ManualClock } from '../clock.ts';
import type { EffectiveConfig } from '../config/source.ts';
import { AgentError } from '../errors.ts';
import { silentLogger } from '../log.ts';
import type { StackCount } from '../samples/aggregate.ts';
import type { IntervalHealth } from './degradation.ts';
import type { NodePod } from './pod.ts';
import { reasonOf, StatusWriter } from './status.ts';

const MINUTE = 60_000;
const LIMIT = { feature: 'loop', since: '5.17', effect: 'stacks are walked by tail calls' };
const OBJECT = { uid: 'u1', generation: 1, hash: 'aa', conditions: undefined };
const HEALTH: IntervalHealth = {
  frequencyHz: 19,
  wantedFrequencyHz: 19,
  budgetExhausted: false,
  fired: 0,
  dropped: 0,
  exports: [],
};
const DESCRIBER = { workload: () => 'shop/api', file: () => '/opt/libfoo.so (build id abcd)' };
function numberOf(name: string): number {
  const found = reasons.find((reason) => reason.name === name);
  assert.ok(found, `no reason ${name}`);
  return found.number;
}

const config = (configHash: string, more: object = {}): EffectiveConfig => ({
  origin: 'test',
  spec: parseNodeProfilingSpec({
    configHash,
    rules: [
      { policy: { name: 'urgent', uid: 'p1', revision: 'r1' }, namespaces: ['shop'], containers: ['db'] },
      { policy: { name: 'shop', uid: 'p2', revision: 'r1' }, namespaces: ['shop'] },
    ],
    ...more,
  }),
});

/** So many samples of the policy with that number, with that reason. */
const stacks = (policy: number, reason: string, count: number) =>
  ({
    stack: { policy, reason: numberOf(reason), tgid: 1, generation: 0, user: new Float64Array(30) },
    threads: new Map(),
    count,
  }) as unknown as StackCount;

const pod = (name: string, containerNames: string[]): NodePod => ({
  pod: { namespace: 'shop', name, uid: name, labels: {}, owner: undefined },
  cgroupUid: name,
  containers: new Map(),
  containerNames,
});

describe('StatusWriter', () => {
  let clock: ManualClock;
  let written: { at: number; status: Status }[];
  let attempts: number;
  let fail: Error | undefined;
  let writer: StatusWriter;
  let stop: AbortController;
  let running: Promise<void>;
  let pods: NodePod[];

  beforeEach(() => {
    clock = new ManualClock(Date.UTC(2026, 0, 1));
    written = [];
    attempts = 0;
    fail = undefined;
    pods = [];
    stop = new AbortController();
    const start = clock.wallMs();
    const resource = {
      apply: async (object: { status: Status; metadata: { name: string } }, options: object) => {
        assert.deepEqual(
          { name: object.metadata.name, ...options, signal: undefined },
          { name: 'node-0', fieldManager: 'plumbline-agent', subresource: 'status', signal: undefined },
        );
        attempts++;
        if (fail) throw fail;
        written.push({ at: clock.wallMs() - start, status: NodeProfilingConfigStatus.parse(object.status) });
      },
    } as unknown as Resource;
    writer = new StatusWriter({
      resource,
      nodeName: 'node-0',
      agentVersion: '1.2.3',
      kernel: '6.1.0',
      pods: () => pods,
      kernelLimits: () => [LIMIT],
      baseline: (policies) => (policies.includes('shop') ? { truncatedRatio: 0.00234, depth: 40.4 } : undefined),
      log: silentLogger,
      clock,
      random: () => 0.5,
    });
    running = writer.run(stop.signal);
  });
  afterEach(async () => {
    stop.abort();
    await clock.advance(0);
    await running;
  });

  const last = () => written[written.length - 1].status;
  const condition = (type: string) => findCondition(last().conditions, type);
  const interval = (counts: StackCount[], health = HEALTH) => writer.interval(counts, DESCRIBER, health);

  it('writes nothing while there is no object', async () => {
    writer.observed(undefined);
    writer.applied(config(''), undefined);
    await clock.advance(60 * MINUTE);
    assert.equal(written.length, 0);
  });

  it('says at once what is in force', async () => {
    writer.observed(OBJECT);
    await clock.advance(1_000);
    assert.equal(written.length, 0, 'not before it was tried');
    writer.applied(config('aa'), 'tailCall');
    await clock.advance(0);
    assert.equal(written.length, 1);
    const { observedHash, appliedHash, observedGeneration, strategy, kernel, agentVersion, lastHeartbeat } = last();
    assert.deepEqual([observedHash, appliedHash, observedGeneration], ['aa', 'aa', 1]);
    assert.deepEqual([strategy, kernel, agentVersion], ['TailCall', '6.1.0', '1.2.3']);
    assert.equal(lastHeartbeat, '2026-01-01T00:00:01Z');
    assert.deepEqual([condition('Ready')?.status, condition('Ready')?.reason], ['True', 'Applied']);
    assert.deepEqual([condition('Degraded')?.status, condition('Degraded')?.reason], ['False', 'AsExpected']);
    assert.deepEqual(
      last().policies?.map(({ name, uid, revision, bucket }) => [name, uid, revision, bucket]),
      [
        ['urgent', 'p1', 'r1', 'Unknown'],
        ['shop', 'p2', 'r1', 'Unknown'],
      ],
    );
  });

  it('keeps the hash in force apart from one that was refused', async () => {
    writer.observed(OBJECT);
    writer.applied(config('aa'), 'loop');
    await clock.advance(0);
    await clock.advance(20_000);
    writer.observed({ ...OBJECT, generation: 2, hash: 'bb' });
    writer.invalid(new AgentError('config_invalid', 'spec.sampling.frequencyHz: too small'));
    await clock.advance(0);
    assert.deepEqual([last().observedHash, last().appliedHash, last().observedGeneration], ['bb', 'aa', 2]);
    assert.deepEqual([condition('Ready')?.status, condition('Ready')?.reason], ['False', 'InvalidConfig']);
    assert.match(condition('Ready')?.message ?? '', /frequencyHz/);
    writer.applied(config('bb'), 'loop');
    await clock.advance(10_000);
    assert.deepEqual([last().appliedHash, condition('Ready')?.status], ['bb', 'True']);
  });

  it('does not write of what was in force before the object was there, until its own spec was tried', async () => {
    writer.applied(config(''), undefined);
    writer.observed(OBJECT);
    await clock.advance(60_000);
    assert.equal(written.length, 0);
    writer.applied(config('aa'), 'loop');
    await clock.advance(0);
    assert.equal(last().appliedHash, 'aa');
  });

  it('says that the last good configuration is in force where it is what the object holds', async () => {
    writer.applied(config('aa'), 'loop');
    writer.observed(OBJECT);
    await clock.advance(0);
    assert.deepEqual([last().appliedHash, last().observedGeneration], ['aa', 1]);
  });

  it('does not forget that the newest was refused when an older one comes into force after it', async () => {
    writer.observed(OBJECT);
    writer.observed({ ...OBJECT, generation: 2, hash: 'bb' });
    writer.invalid(new AgentError('config_invalid', 'no'));
    writer.applied(config('aa'), 'loop');
    await clock.advance(0);
    assert.deepEqual([last().observedHash, last().appliedHash, last().observedGeneration], ['bb', 'aa', 2]);
    assert.equal(condition('Ready')?.status, 'False');
  });

  it('writes transitions at most every ten seconds, the newest of them', async () => {
    writer.observed(OBJECT);
    for (let i = 0; i < 40; i++) {
      writer.observed({ ...OBJECT, generation: i, hash: `a${i % 10}` });
      writer.applied(config(`a${i % 10}`), 'loop');
      await clock.advance(0);
      await clock.advance(1_000);
    }
    await clock.advance(20_000);
    assert.deepEqual(
      written.map(({ at }) => at),
      [0, 10_000, 20_000, 30_000, 40_000],
    );
    assert.equal(last().appliedHash, 'a9');
  });

  it('writes figures alone only with the heartbeat', async () => {
    writer.observed(OBJECT);
    writer.applied(config('aa'), 'loop');
    await clock.advance(0);
    for (let at = 0; at < 60 * MINUTE; at += 10_000) {
      interval([stacks(2, 'root_undefined_ra', 1)]); // never enough to judge
      await clock.advance(10_000);
    }
    assert.deepEqual(
      written.map(({ at }) => at / MINUTE),
      [0, 10, 20, 30, 40, 50, 60],
    );
    assert.equal(last().policies?.[1].samples, 60);
  });

  it('tells which policy is above its objective, why and where', async () => {
    writer.observed(OBJECT);
    writer.applied(config('aa'), 'loop');
    await clock.advance(0);
    await clock.advance(20_000);
    interval([stacks(2, 'root_undefined_ra', 180), stacks(2, 'no_unwind_info', 20), stacks(2, 'not_selected', 500)]);
    await clock.advance(0);
    const [urgent, shop] = last().policies ?? [];
    assert.deepEqual([urgent.bucket, urgent.samples], ['Unknown', 0]);
    const { bucket, ratio, samples, truncated, topReason, topFile, worstWorkload, baselineRatio } = shop;
    assert.deepEqual([bucket, ratio, samples, truncated], ['Degraded', '0.1', 200, 20]);
    assert.deepEqual([topReason, worstWorkload], ['no_unwind_info', 'shop/api']);
    assert.equal(topFile, '/opt/libfoo.so (build id abcd)');
    assert.equal(baselineRatio, '0.002');
    assert.deepEqual([shop.depth, shop.baselineDepth], [30, 40]);
    assert.deepEqual(last().kernelLimits, [LIMIT]);
    assert.deepEqual(last().truncation, {
      bucket: 'Degraded',
      ratio: '0.1',
      baselineRatio: '0.002',
      topReason: 'no_unwind_info',
    });
    assert.equal(condition('Degraded')?.status, 'False', 'the objective is the policy’s matter');
  });

  it('starts the figures of a policy anew with a new revision, and keeps those of the others', async () => {
    writer.observed(OBJECT);
    writer.applied(config('aa'), 'loop');
    interval([stacks(1, 'root_undefined_ra', 150), stacks(2, 'root_undefined_ra', 150)]);
    const next = config('bb');
    next.spec.rules[1].policy.revision = 'r2';
    writer.applied(next, 'loop');
    interval([stacks(1, 'root_undefined_ra', 10)]);
    await clock.advance(20_000);
    assert.deepEqual(
      last().policies?.map(({ samples, bucket }) => [samples, bucket]),
      [
        [160, 'Ok'],
        [0, 'Unknown'],
      ],
    );
  });

  it('counts the pods that each policy decides, and those that it loses', async () => {
    pods = [pod('ledger-0', ['db']), pod('api-0', ['api']), pod('both-0', ['api', 'db'])];
    writer.observed(OBJECT);
    writer.applied(config('aa'), 'loop');
    await clock.advance(0);
    assert.deepEqual(
      last().policies?.map(({ pods: count, overridden }) => [count, overridden]),
      [
        [2, undefined],
        [2, [{ by: 'urgent', pods: 2 }]],
      ],
    );
  });

  it('says Degraded when trouble lasts', async () => {
    writer.observed(OBJECT);
    writer.applied(config('aa'), 'loop');
    for (let i = 0; i < 20; i++) {
      interval([], { ...HEALTH, frequencyHz: 1 });
      await clock.advance(10_000);
    }
    assert.deepEqual([condition('Degraded')?.status, condition('Degraded')?.reason], ['True', 'OverBudget']);
    assert.equal(condition('Ready')?.status, 'True');
  });

  it('writes again what is on an object that was made anew', async () => {
    writer.observed(OBJECT);
    writer.applied(config('aa'), 'loop');
    await clock.advance(0);
    await clock.advance(20_000);
    writer.observed(undefined);
    await clock.advance(20_000);
    writer.observed({ ...OBJECT, uid: 'u2' });
    await clock.advance(0);
    assert.equal(written.length, 2);
  });

  it('keeps the transition times of the agent before', async () => {
    const lastTransitionTime = '2025-06-01T00:00:00Z';
    const before = { type: 'Ready', status: 'True', reason: 'Applied', message: '', lastTransitionTime };
    writer.observed({ ...OBJECT, conditions: [before] as unknown as undefined });
    writer.applied(config('aa'), 'loop');
    await clock.advance(0);
    assert.equal(condition('Ready')?.lastTransitionTime, lastTransitionTime);
  });

  it('tries again, ever more slowly, while the API server refuses', async () => {
    fail = new ApiError(500, '', 'no');
    writer.observed(OBJECT);
    writer.applied(config('aa'), 'loop');
    await clock.advance(0);
    await clock.advance(60 * MINUTE);
    assert.ok(attempts > 20 && attempts < 40, `${attempts} attempts in an hour`);
    fail = undefined;
    writer.observed({ ...OBJECT, generation: 2 });
    await clock.advance(0);
    assert.equal(written.length, 1, 'at once when the watch shows that it is back');
    assert.equal(last().appliedHash, 'aa');
  });
});

describe('reasonOf', () => {
  it('tells a refusal by the verifier from a kernel without BPF', () => {
    const refused = Object.assign(new Error('load'), { verifierLog: 'R1 invalid mem access' });
    assert.equal(reasonOf(new AgentError('bpf_unavailable', 'x', '', { cause: refused })), 'VerifierRejected');
    assert.equal(reasonOf(new AgentError('bpf_unavailable', 'x')), 'KernelUnsupported');
    assert.equal(reasonOf(new AgentError('not_permitted', 'x')), 'PermissionDenied');
    assert.equal(reasonOf(new AgentError('config_invalid', 'x')), 'InvalidConfig');
  });
});
