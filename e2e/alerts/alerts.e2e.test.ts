// SPDX-License-Identifier: Apache-2.0
/**
 * From a stack that is cut to the person on call: a real agent profiles a deep program with a budget that is too small, a
 * real Prometheus scrapes it, the alert fires; the configuration is mended, the alert resolves. And what Prometheus has adds
 * up to what fired.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { dashboards, expressionsOf } from '../../deploy/monitoring/dashboards/dashboards.ts';
import { ruleFile } from '../../deploy/monitoring/rules.ts';
import { waitUntil } from '../cluster/wait-until.ts';
import { buildFixtures } from '../fixtures/build.ts';
import { recipes } from '../fixtures/recipes.ts';
import { type RunningFixture, startFixture } from '../fixtures/start.ts';
import { RunningAgent } from './agent.ts';
import { Prometheus } from './prometheus.ts';
import { SHORT_TIMES } from './short-times.ts';

const skip = process.getuid?.() === 0 || process.env.CI === 'true' ? false : 'needs root';

const POLICY = 'standard';
/** A name of its own: other tests may run the same fixture meanwhile. */
const PROGRAM = 'deep-service';
const DEPTH = 300;
/** What discovery would attach to the series of an agent's pod. */
const POD = { node: 'worker-1', namespace: 'profiling', pod: 'plumbline-agent-x', container: 'agent' };

const configuration = (maxFrames: number, rules = 1) => ({
  sampling: { frequencyHz: 97 },
  reportInterval: '1s',
  budget: { cpuPercentOfNode: '100' },
  rules: [
    {
      policy: { name: POLICY },
      allNamespaces: true,
      hostProcesses: true,
      frequencyHz: 97,
      unwinding: { maxFrames, spill: 'Never' },
      objective: { truncatedRatio: '0.05', window: '1m' },
    },
  ].slice(0, rules),
  // Nobody listens there: what it looks like when profiles do not arrive.
  exports: [{ name: 'nowhere', otlp: { endpoint: '127.0.0.1:9', protocol: 'http', insecure: true } }],
  agent: { recentProfiles: '1h' },
});

describe('from cut stacks to an alert', { timeout: 600_000, skip }, () => {
  let fixture: RunningFixture;
  let agent: RunningAgent;
  let prometheus: Prometheus;
  let programs: string;
  let shell: ChildProcess | undefined;

  before(async () => {
    const recipe = recipes.find(({ name }) => name === 'recursion')!;
    const built = (await buildFixtures([recipe])).get(recipe.name)!;
    programs = mkdtempSync(join(tmpdir(), 'plumbline-alerts-'));
    copyFileSync(join(built, recipe.program), join(programs, PROGRAM));
    fixture = await startFixture({ ...recipe, program: PROGRAM }, programs, DEPTH, 600);
    // New processes, for what is measured of these.
    shell = spawn('/bin/sh', ['-c', 'while :; do sleep 0.2; done'], { stdio: 'ignore' });
    agent = await RunningAgent.start(configuration(20));
    const target = { job: 'plumbline-agent', address: agent.address, labels: POD };
    prometheus = await Prometheus.start([target], ruleFile(SHORT_TIMES), '1s');
  });
  after(async () => {
    await prometheus?.stop();
    await agent?.stop();
    await fixture?.stop();
    shell?.kill('SIGKILL');
    if (programs) rmSync(programs, { recursive: true });
  });

  const alert = async (name: string, workload?: string) =>
    (await prometheus.alerts()).find(
      (found) => found.name === name && found.state === 'firing' && found.labels.workload === workload,
    );

  it('fires for the workload and the policy, and says where to read on', async (t) => {
    const begun = Date.now();
    const firing = await waitUntil('the alert', () => alert('PlumblineWorkloadTruncated', PROGRAM), {
      timeout: 200_000,
    });
    t.diagnostic(`fires after ${((Date.now() - begun) / 1e3).toFixed(1)} s: ${firing.annotations.summary}`);
    assert.deepEqual(firing.labels, { severity: 'warning', policy: POLICY, workload: PROGRAM });
    assert.match(
      firing.annotations.summary,
      /^(100|9\d\.?\d*)% of the stacks of deep-service are cut, more than policy standard/,
    );
    assert.match(firing.annotations.runbook_url, /runbooks\/PlumblineWorkloadTruncated\.md$/);
    await waitUntil('the alert of the policy', () => alert('PlumblineObjectiveMissed'), { timeout: 60_000 });
    const reasons = await prometheus.query(
      `sum by (reason) (increase(plumbline_workload_samples_total{workload="${PROGRAM}", outcome="truncated"}[1m])) > 0`,
    );
    assert.deepEqual(
      reasons.map(({ labels }) => labels.reason),
      ['frame_limit'],
    );
  });

  it('fires for the receiver that does not answer', async () => {
    const firing = await waitUntil('the alert', () => alert('PlumblineExportFailing'), { timeout: 60_000 });
    assert.match(firing.annotations.summary, /^worker-1 cannot deliver profiles to nowhere\.$/);
  });

  it('keeps the workload apart from the pod of the agent that reports it', async () => {
    const [series] = await prometheus.query(
      `plumbline_workload_samples_total{workload="${PROGRAM}", reason="frame_limit"}`,
    );
    const { namespace = '', container = '', node, policy } = series.labels;
    assert.deepEqual(
      { namespace, container, node, policy },
      { namespace: '', container: '', node: 'worker-1', policy: POLICY },
    );
  });

  for (const [name, dashboard] of Object.entries(dashboards(SHORT_TIMES))) {
    it(`has data for every panel of the dashboard ${name}`, async (t) => {
      const expressions = expressionsOf(dashboard);
      const empty = async () => {
        const found: string[] = [];
        for (const { panel, expr } of expressions) {
          const values = await prometheus.query(substituted(expr));
          if (!values.some(({ value }) => Number.isFinite(value))) found.push(`${panel}: ${expr}`);
        }
        return found;
      };
      // Histories need a moment until there is one.
      await waitUntil('data', async () => (await empty()).length === 0).catch(() => {});
      assert.deepEqual(await empty(), []);
      t.diagnostic(`${expressions.length} expressions`);
    });
  }

  it('resolves when the configuration is mended', async (t) => {
    agent.configure(configuration(1024));
    const begun = Date.now();
    await waitUntil(
      'the alert to resolve',
      async () =>
        (await alert('PlumblineWorkloadTruncated', PROGRAM)) === undefined &&
        ((await prometheus.value(
          `sum(rate(plumbline_workload_samples_total{workload="${PROGRAM}", outcome="complete"}[15s]))`,
        )) ?? 0) > 1,
      { timeout: 200_000 },
    );
    t.diagnostic(`resolved ${((Date.now() - begun) / 1e3).toFixed(1)} s after the change`);
    const depth = await prometheus.value(
      'histogram_quantile(0.99, sum by (le) (rate(plumbline_stack_depth_frames_bucket{outcome="complete"}[15s])))',
    );
    assert.ok((depth ?? 0) > DEPTH / 2, `${depth} frames`);
  });

  it('adds up: what Prometheus has by workload is what fired', async (t) => {
    agent.configure(configuration(1024, 0)); // nothing is sampled any more, and everything is reported
    const value = async (expression: string) => (await prometheus.value(expression)) ?? 0;
    const fired = await waitUntil('the last samples to be accounted for', async () => {
      const now = await value('sum(plumbline_samples_fired_total)');
      const before = await value('sum(plumbline_samples_fired_total offset 5s)');
      return now === before && now === (await value('sum(plumbline_samples_total offset 2s)')) && now;
    });
    const reached = 'outcome=~"complete|recovered|truncated|kernel_only", reason!="stack_body_lost"';
    const [workloads, policies, runtimes, ofKernel] = await Promise.all(
      ['workload_', 'policy_', 'runtime_', ''].map((kind) =>
        value(`sum(plumbline_${kind}samples_total{${kind === '' ? reached : ''}})`),
      ),
    );
    t.diagnostic(`${ofKernel} samples reached the agent of ${fired} that fired`);
    assert.ok(ofKernel > 500, `${ofKernel} samples`);
    assert.deepEqual(
      { workloads, policies, runtimes },
      { workloads: ofKernel, policies: ofKernel, runtimes: ofKernel },
    );

    // The same by workload, against the samples of the profiles themselves.
    const inProfiles = new Map<string, number>();
    for (const [workload, count] of workloadsOf(await agent.get('/api/profile?format=json&since=1h')))
      inProfiles.set(workload, (inProfiles.get(workload) ?? 0) + count);
    const inPrometheus = await prometheus.query('sum by (workload) (plumbline_workload_samples_total)');
    assert.ok(inPrometheus.length > 1);
    assert.deepEqual(
      Object.fromEntries(inPrometheus.map(({ labels, value: count }) => [labels.workload ?? '', count]).sort()),
      Object.fromEntries([...inProfiles].sort()),
    );
  });
});

/** An expression as Grafana sends it. */
function substituted(expression: string): string {
  const variables = { __rate_interval: '15s', instance: '.*', namespace: '.*', workload: PROGRAM };
  return Object.entries(variables).reduce((text, [name, value]) => text.replaceAll(`$${name}`, value), expression);
}

interface OtlpJson {
  readonly resourceProfiles: readonly {
    readonly resource: { readonly attributes: readonly { key: string; value: { stringValue?: string } }[] };
    readonly scopeProfiles: readonly {
      readonly profiles: readonly { readonly samples: readonly { readonly values: readonly string[] }[] }[];
    }[];
  }[];
}

/** Workload and count of each resource of a profile. */
function* workloadsOf(json: string): Generator<[string, number]> {
  for (const { resource, scopeProfiles } of (JSON.parse(json) as OtlpJson).resourceProfiles) {
    const text = (name: string) => resource.attributes.find(({ key }) => key === name)?.value.stringValue;
    const workload = text('container.id')?.slice(0, 12) ?? text('process.executable.name') ?? 'unknown';
    for (const { profiles } of scopeProfiles)
      for (const { samples } of profiles)
        yield [workload, samples.reduce((sum, { values }) => sum + values.reduce((a, b) => a + Number(b), 0), 0)];
  }
}
