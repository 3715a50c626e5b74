// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { Transport } from '@plumbline/kube';
import { waitUntil } from '../../../../e2e/cluster/wait-until.ts';
import { FakeApiServer } from '../../../kube/test/fake-api-server.ts';
import { ManualClock } from '../clock.ts';
import type { EffectiveConfig } from '../config/source.ts';
import { AgentError } from '../errors.ts';
import { silentLogger } from '../log.ts';
import { NODE_CONFIG_PATH, NodeObjectSource, type ObservedObject } from './node-object.ts';

const PATH = `${NODE_CONFIG_PATH}/node-0`;
const spec = (configHash: string, more: object = {}) => ({
  configHash,
  rules: [{ policy: { name: 'shop' }, namespaces: ['shop'] }],
  ...more,
});

interface Started {
  readonly source: NodeObjectSource;
  readonly clock: ManualClock;
  /** Everything that was to be in force, in order. */
  readonly configs: EffectiveConfig[];
  readonly observed: (ObservedObject | undefined)[];
  readonly invalid: AgentError[];
  end(): Promise<void>;
}

describe('NodeObjectSource', () => {
  let server: FakeApiServer;
  let directory: string;
  let started: Started[];

  beforeEach(async () => {
    server = await FakeApiServer.start();
    directory = mkdtempSync(join(tmpdir(), 'plumbline-node-object-'));
    started = [];
  });
  afterEach(async () => {
    for (const one of started) await one.end();
    await server.stop();
    rmSync(directory, { recursive: true });
  });

  /** @param apply what the agent makes of a configuration: applies it, or throws */
  function start(apply: (config: EffectiveConfig) => void = () => {}): Started {
    const clock = new ManualClock();
    const stop = new AbortController();
    const transport = new Transport({
      access: { server: server.url, credentials: async () => ({ tls: {} }), invalidate() {} },
      userAgent: 'test/1',
    });
    const configs: EffectiveConfig[] = [];
    const observed: (ObservedObject | undefined)[] = [];
    const invalid: AgentError[] = [];
    const source = new NodeObjectSource({
      transport,
      nodeName: 'node-0',
      stateDirectory: directory,
      log: silentLogger,
      clock,
      onObserved: (object) => observed.push(object),
      onInvalid: (error) => invalid.push(error),
      reflector: { backoff: { initial: 5, max: 40 } },
      random: () => 0,
    });
    const reading = (async () => {
      for await (const config of source.configs(stop.signal)) {
        try {
          apply(config);
          configs.push(config);
          source.applied(config);
        } catch (error) {
          source.refused(config, AgentError.from(error));
        }
      }
    })();
    const end = async () => {
      stop.abort();
      await clock.advance(0);
      await reading;
      await transport.close();
    };
    const one = { source, clock, configs, observed, invalid, end };
    started.push(one);
    void clock.advance(0);
    return one;
  }

  const until = (what: string, check: () => boolean) => waitUntil(what, check, { interval: 5, timeout: 20_000 });

  it('takes no object for nothing to profile, and is content', async () => {
    const { configs, source, observed } = start();
    await until('a configuration', () => configs.length === 1);
    assert.deepEqual(configs[0].spec.rules, []);
    assert.equal(source.problem, undefined);
    assert.ok(observed.every((object) => object === undefined));
  });

  it('watches one object by its name', async () => {
    const { source } = start();
    await until('a watch', () => source.watching);
    const selectors = server.requests.map(({ query }) => query.get('fieldSelector'));
    assert.deepEqual(selectors, ['metadata.name=node-0', 'metadata.name=node-0']);
  });

  it('hands on what changed in the spec, and nothing else', async () => {
    server.put(PATH, { spec: spec('aa') });
    const { configs, source } = start();
    await until('the first', () => configs.length === 1);
    await until('a watch', () => source.watching);
    server.put(PATH, { spec: spec('aa'), status: { appliedHash: 'aa' } });
    server.put(`${NODE_CONFIG_PATH}/node-1`, { spec: spec('dd') });
    server.put(PATH, { spec: spec('bb', { sampling: { frequencyHz: 49 } }) });
    await until('the second', () => configs.length === 2);
    assert.deepEqual(
      configs.map((config) => [config.spec.configHash, config.spec.sampling.frequencyHz]),
      [
        ['aa', 19],
        ['bb', 49],
      ],
    );
    server.remove(PATH);
    await until('the end', () => configs.length === 3);
    assert.deepEqual(configs[2].spec.rules, []);
  });

  it('refuses a spec that does not fit, with the field, and keeps the one before', async () => {
    server.put(PATH, { spec: spec('aa') });
    const { configs, source, observed, invalid } = start();
    await until('the first', () => configs.length === 1);
    await until('a watch', () => source.watching);
    server.put(PATH, { spec: spec('bb', { sampling: { frequencyHz: 0 } }) });
    await until('the refusal', () => source.problem !== undefined);
    assert.match(source.problem?.message ?? '', /spec\.sampling\.frequencyHz/);
    assert.equal(source.problem?.code, 'config_invalid');
    assert.equal(observed.at(-1)?.hash, 'bb');
    assert.equal(invalid.length, 1);
    assert.equal(configs.length, 1);
    server.put(PATH, { spec: spec('aa') });
    await until('the good one again', () => configs.length === 2 && source.problem === undefined);
  });

  it('never takes an object without rules for the whole node', async () => {
    server.put(PATH, { spec: { configHash: 'aa' } });
    const { configs } = start();
    await until('a configuration', () => configs.length === 1);
    assert.deepEqual(configs[0].spec.rules, []);
  });

  it('starts with the last good configuration while the API server is away, and follows it when it is back', async () => {
    server.put(PATH, { spec: spec('aa') });
    const first = start();
    await until('the first', () => first.configs.length === 1);
    await first.end();

    server.fault = () => ({ status: 500 });
    const second = start();
    await until('a refused request', () => server.requests.length > 4);
    assert.equal(second.configs.length, 0);
    await second.clock.advance(7_000);
    await until('the last good one', () => second.configs.length === 1);
    assert.equal(second.configs[0].spec.configHash, 'aa');
    assert.match(second.configs[0].origin, /last good/);
    assert.equal(second.source.problem, undefined);

    server.put(PATH, { spec: spec('bb') });
    server.fault = () => undefined;
    await until('the new one', () => second.configs.length === 2);
    assert.equal(second.configs[1].spec.configHash, 'bb');
  });

  it('says what is missing where there is no last good configuration either', async () => {
    server.fault = () => ({ status: 500 });
    const { clock, source, configs } = start();
    await until('a refused request', () => server.requests.length > 0);
    await clock.advance(7_000);
    assert.equal(source.problem?.code, 'config_unreadable');
    assert.match(source.problem?.message ?? '', /node-0/);
    server.fault = () => undefined;
    await until('a configuration', () => configs.length === 1 && source.problem === undefined);
  });

  it('tries again what the agent could not apply, as long as it is wanted', async () => {
    let attempts = 0;
    server.put(PATH, { spec: spec('aa') });
    const { clock, source, configs } = start(() => {
      attempts++;
      if (attempts < 3) throw new AgentError('bpf_unavailable', 'no memory');
    });
    await until('the refusal', () => source.problem !== undefined);
    assert.equal(attempts, 1);
    await clock.advance(60_000);
    await until('the second attempt', () => attempts === 2);
    await clock.advance(60_000);
    await until('success', () => configs.length === 1 && source.problem === undefined);
    await clock.advance(300_000);
    assert.equal(attempts, 3);
  });
});
