// SPDX-License-Identifier: Apache-2.0
/**
 * The whole way on a real cluster: `helm install`, `kubectl apply` of a policy, eBPF samples of the selected pods at a real
 * collector, status in `kubectl get`; conflicts, refusals, what happens when a part goes away, and an alert that a policy causes
 * and another ends.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { promisify } from 'node:util';
import { ruleFile } from '../deploy/monitoring/rules.ts';
import { Prometheus } from './alerts/prometheus.ts';
import { SHORT_TIMES } from './alerts/short-times.ts';
import { Cluster, RELEASE } from './cluster/cluster.ts';
import type { ResolvedProfile, ResolvedSample } from './cluster/collector.ts';
import { helm } from './cluster/helm.ts';
import { waitUntil } from './cluster/wait-until.ts';

const WORKLOADS = join(import.meta.dirname, 'cluster', 'playground', 'workloads.yaml');
const PLUGIN = join(import.meta.dirname, '..', 'bin', 'kubectl-plumbline');
const unlessRoot = process.getuid?.() === 0 || process.env.CI === 'true' ? false : 'needs root';

/** A shell that has called itself thirty times and then keeps busy: some two hundred frames. */
const deepPod = {
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'deep', namespace: 'shop' },
  spec: {
    terminationGracePeriodSeconds: 0,
    containers: [
      {
        name: 'main',
        image: 'localhost/busybox:1',
        command: [
          'sh',
          '-c',
          'f() { if [ $1 -gt 0 ]; then f $(($1-1)); else while :; do i=$((i+1)); done; fi; }; f 30',
        ],
        resources: { limits: { cpu: '100m', memory: '32Mi' } },
      },
    ],
  },
};

interface Condition {
  readonly type: string;
  readonly status: string;
  readonly reason: string;
  readonly message: string;
}

describe('Plumbline on a cluster', { timeout: 1_800_000, skip: unlessRoot }, () => {
  let cluster: Cluster;
  before(async () => {
    cluster = await Cluster.start();
    await kubectl('apply', '-f', WORKLOADS);
    await kubectl('-n', 'shop', 'wait', '--for=condition=Ready', 'pod', '--all', '--timeout=60s');
  });
  after(() => cluster?.stop());

  const kubectl = (...args: string[]) => cluster.controlPlane.kubectl(...args);

  const policy = (name: string, namespace: string, more: object = {}) => ({
    apiVersion: 'profiling.plumbline.dev/v1alpha1',
    kind: 'ProfilingPolicy',
    metadata: { name },
    spec: {
      target: { namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': namespace } } },
      sampling: { frequencyHz: 49 },
      export: { otlp: { endpoint: cluster.collector.grpcEndpoint, protocol: 'grpc', insecure: true } },
      ...more,
    },
  });

  /** Samples that fired after `since`, each with the attributes of its resource. */
  const samplesSince = (since: number): (ResolvedSample & { where: Record<string, unknown> })[] =>
    cluster.collector
      .profiles()
      .filter((profile: ResolvedProfile) => profile.timeUnixNano >= BigInt(since) * 1_000_000n)
      .flatMap(({ resource, samples }) =>
        samples.map((sample) => ({ ...sample, where: { ...resource, ...sample.attributes } })),
      );
  const podOf = (sample: { where: Record<string, unknown> }) => String(sample.where['k8s.pod.name'] ?? '');

  const condition = async (name: string, type: string): Promise<Condition | undefined> => {
    const { status } = await cluster.controlPlane.get<{ status?: { conditions?: Condition[] } }>('profpol', name);
    return status?.conditions?.find((c) => c.type === type);
  };
  const waitForCondition = (name: string, type: string, status: string, timeout = 60_000) =>
    waitUntil(
      `${type}=${status} of ${name}`,
      async () => {
        const found = await condition(name, type);
        return found?.status === status && found;
      },
      { timeout, interval: 250 },
    );

  it('passes helm test', async () => {
    const { name, namespace } = RELEASE;
    const output = await helm(['test', name, '--namespace', namespace, '--logs'], cluster.controlPlane.kubeconfig);
    // Helm prints the log once for each object of the test.
    assert.equal(new Set(output.match(/^ok: .+/gm)).size, 4, output);
  });

  it('delivers samples of the selected pods, and of no other, soon after the policy is applied', async (t) => {
    const applied = Date.now();
    await cluster.controlPlane.apply(policy('shop', 'shop'));
    await waitUntil(
      'samples of checkout and ledger',
      () => {
        const pods = new Set(samplesSince(applied).map(podOf));
        return [...pods].some((pod) => pod.startsWith('checkout-')) && pods.has('ledger-0');
      },
      { timeout: 90_000 },
    );
    t.diagnostic(`samples at the collector ${((Date.now() - applied) / 1000).toFixed(1)} s after kubectl apply`);
    const samples = samplesSince(applied);
    assert.deepEqual([...new Set(samples.map(({ where }) => where['k8s.namespace.name']))], ['shop']);
    for (const sample of samples) {
      const isLedger = podOf(sample) === 'ledger-0';
      assert.equal(sample.where['k8s.container.name'], isLedger ? 'db' : 'api');
      assert.equal(sample.where['k8s.node.name'], 'node-0');
      const owner = isLedger ? ['k8s.statefulset.name', 'ledger'] : ['k8s.deployment.name', 'checkout'];
      assert.equal(sample.where[owner[0]], owner[1]);
      assert.ok(sample.frames.length > 0);
    }
  });

  it('shows in kubectl that the policy is in force, and on what', async () => {
    await waitForCondition('shop', 'Ready', 'True');
    const [headings, row] = (await kubectl('get', 'profpol', 'shop'))
      .trim()
      .split('\n')
      .map((line) => line.split(/ {2,}/));
    const shown = Object.fromEntries(headings.map((heading, index) => [heading.trim(), row[index]]));
    assert.deepEqual([shown.READY, shown.TARGETED, shown.APPLIED, shown.FAILED], ['True', '1', '1', '0']);
    assert.match(await kubectl('get', 'npc', 'node-0'), /^node-0 +True +\w+ +6?\S+/m);
  });

  it('answers kubectl plumbline: workloads, why stacks are cut, and a flame graph, from the agent on the node', async () => {
    const env = {
      ...process.env,
      KUBECONFIG: cluster.controlPlane.kubeconfig,
      NODE_OPTIONS: '',
      NODE_TEST_CONTEXT: '',
    };
    const plugin = async (...args: string[]) => {
      const options = { env, maxBuffer: 2 ** 26, timeout: 60_000 };
      return (await promisify(execFile)(PLUGIN, args, options)).stdout;
    };
    const agents = ['--agents-namespace', RELEASE.namespace];
    const { nodes, workloads } = JSON.parse(await plugin('top', '-n', 'shop', '--json', ...agents));
    assert.deepEqual(nodes, { asked: 1, answered: 1 });
    const names = workloads.map(({ workload }: { workload: string }) => workload).sort();
    assert.deepEqual(names, ['shop/checkout', 'shop/ledger']);
    for (const { policy, samples, depth } of workloads) assert.ok(policy === 'shop' && samples > 0 && depth > 2);

    const explained = JSON.parse(await plugin('explain', '-n', 'shop', 'deploy/checkout', '--json', ...agents));
    assert.deepEqual([explained.workload, explained.nodes], ['shop/checkout', 1]);
    assert.ok(explained.samples > 0 && explained.truncated <= explained.samples);

    const page = await plugin('flame', 'shop/ledger', '--since', '5m', ...agents);
    const data = JSON.parse(/<script type="application\/json" id="data">(.+?)<\/script>/s.exec(page)?.[1] ?? '');
    assert.ok(
      data.processes.every(({ container }: { container: string }) => container.startsWith('node-0/shop/ledger-0')),
    );
    assert.ok(data.frames.label.length > 0);

    const status = await plugin('status');
    assert.match(status, /^shop +True +1\/1 +1\.0 %/m);
    assert.match(status, /^(Loop|TailCall|Deferred) +\d+\.\d+ +1 +1$/m);
    const node = await cluster.controlPlane.get<{ status: { kernelLimits?: object[] } }>('npc', 'node-0');
    assert.ok(Array.isArray(node.status.kernelLimits), 'the agent has tried what the kernel lacks');
  });

  it('says which policy wins where two select the same pods, and goes back when the winner is deleted', async () => {
    await cluster.controlPlane.apply(policy('urgent', 'shop', { priority: 10, sampling: { frequencyHz: 19 } }));
    const conflict = await waitForCondition('shop', 'Conflicted', 'True');
    assert.match(conflict.message, /urgent/);
    await kubectl('delete', 'profpol', 'urgent');
    await waitForCondition('shop', 'Conflicted', 'False');
    await waitForCondition('shop', 'Ready', 'True');
  });

  it('has the API server refuse a policy that cannot work, in words', async () => {
    const refusals: [object, RegExp][] = [
      [{ target: {} }, /target/],
      [{ sampling: { frequencyHz: 100_000 } }, /spec\.sampling\.frequencyHz/],
      [{ target: { podSelector: { matchExpressions: [{ key: 'a', operator: 'Near' }] } } }, /operator/],
    ];
    for (const [change, message] of refusals) {
      await assert.rejects(cluster.controlPlane.apply(policy('broken', 'shop', change)), message);
    }
  });

  it('goes on when the agent is killed', async () => {
    const [before_] = await agentPods();
    await kubectl('-n', RELEASE.namespace, 'delete', 'pod', before_, '--grace-period=0', '--force');
    await waitUntil('another agent', async () => (await agentPods()).some((pod) => pod !== before_), {
      timeout: 60_000,
    });
    await kubectl('-n', RELEASE.namespace, 'rollout', 'status', 'ds/plumbline-agent', '--timeout=60s');
    const since = Date.now();
    await waitUntil('samples of the new agent', () => samplesSince(since).some((s) => podOf(s) === 'ledger-0'), {
      timeout: 60_000,
    });
  });

  it('goes on while the API server is away, and takes changes when it is back', async () => {
    await cluster.controlPlane.kill('kube-apiserver');
    const since = Date.now();
    await waitUntil('samples without an API server', () => samplesSince(since).length > 0, { timeout: 60_000 });

    const [agent] = agentProcesses();
    process.kill(agent, 'SIGKILL');
    const restarted = await waitUntil(
      'kubelet to start the agent anew',
      () => agentProcesses().find((pid) => pid !== agent),
      {
        timeout: 90_000,
      },
    );
    const killed = Date.now();
    await waitUntil(
      `samples of agent ${restarted}, which knows its configuration and pods from disk alone`,
      () => samplesSince(killed).some((s) => podOf(s) === 'ledger-0'),
      { timeout: 90_000 },
    );
    await cluster.controlPlane.restart('kube-apiserver');
    await cluster.controlPlane.apply(policy('shop', 'shop', { sampling: { frequencyHz: 19 } }));
    await waitUntil(
      'the change on the node',
      async () => {
        const { spec, status } = await cluster.controlPlane.get<{
          spec: { configHash: string; rules: { frequencyHz?: number }[] };
          status: { appliedHash: string };
        }>('npc', 'node-0');
        return JSON.stringify(spec).includes('19') && spec.configHash === status.appliedHash;
      },
      { timeout: 120_000 },
    );
  });

  it('keeps what it recorded while the collector is away, and delivers it afterwards', async () => {
    await cluster.collector.kill();
    const away = Date.now();
    await waitUntil('20 s without a collector', () => Date.now() - away > 20_000, { interval: 500 });
    const back = Date.now();
    await cluster.collector.restart();
    await waitUntil(
      'samples from the time without a collector',
      () =>
        samplesSince(away).some(({ timestampsUnixNano: [at] }) => at !== undefined && at < BigInt(back) * 1_000_000n) ||
        cluster.collector
          .profiles()
          .some(
            (p) =>
              p.timeUnixNano >= BigInt(away) * 1_000_000n &&
              p.timeUnixNano + p.durationNano <= BigInt(back) * 1_000_000n,
          ),
      { timeout: 120_000 },
    );
  });

  it('ends with the policy: configuration gone from the node, no more samples', async () => {
    await kubectl('delete', 'profpol', 'shop');
    await waitUntil(
      'an empty configuration in force',
      async () => {
        const { spec, status } = await cluster.controlPlane.get<{
          spec: { configHash: string; rules: unknown[] };
          status: { appliedHash: string };
        }>('npc', 'node-0');
        return spec.rules.length === 0 && spec.configHash === status.appliedHash;
      },
      { timeout: 90_000 },
    );
  });

  it('alerts in Prometheus on a policy that keeps too few frames, until kubectl apply mends it', async (t) => {
    await cluster.controlPlane.apply(deepPod);
    await kubectl('-n', 'shop', 'wait', '--for=condition=Ready', 'pod/deep', '--timeout=60s');
    const keeping = (maxFrames: number) =>
      policy('deep', 'shop', {
        sampling: { frequencyHz: 97 },
        unwinding: { maxFrames, spill: 'Never' },
        objective: { truncatedRatio: '0.05', window: '1m' },
      });
    await cluster.controlPlane.apply(keeping(16));
    const [agent] = await agentPods();
    const address = await kubectl('-n', RELEASE.namespace, 'get', 'pod', agent, '-o', 'jsonpath={.status.podIP}');
    const labels = { node: 'node-0', namespace: RELEASE.namespace, pod: agent, container: 'agent' };
    const target = { job: 'plumbline-agent', address: `${address}:7117`, labels };
    const prometheus = await Prometheus.start([target], ruleFile(SHORT_TIMES), '1s');
    try {
      const firing = async () =>
        (await prometheus.alerts()).find(
          (alert) =>
            alert.name === 'PlumblineWorkloadTruncated' && alert.state === 'firing' && alert.labels.workload === 'deep',
        );
      const alert = await waitUntil('the alert', firing, { timeout: 180_000, interval: 500 });
      t.diagnostic(alert.annotations.summary);
      assert.deepEqual(alert.labels, { severity: 'warning', policy: 'deep', namespace: 'shop', workload: 'deep' });
      await cluster.controlPlane.apply(keeping(1024));
      const complete = 'sum(rate(plumbline_workload_samples_total{workload="deep", outcome="complete"}[15s])) > 1';
      await waitUntil(
        'whole stacks, and the alert to resolve',
        async () => (await prometheus.query(complete)).length > 0 && (await firing()) === undefined,
        { timeout: 180_000, interval: 500 },
      );
    } finally {
      await prometheus.stop();
      await kubectl('delete', 'profpol', 'deep');
    }
  });

  /** Processes of agents on the cluster's node. */
  const agentProcesses = (): number[] => {
    const [{ cgroup }] = cluster.nodes;
    const read = (pid: string, file: string) => {
      try {
        return readFileSync(`/proc/${pid}/${file}`, 'utf8');
      } catch {
        return ''; // ended meanwhile
      }
    };
    return readdirSync('/proc')
      .filter((name) => /^[0-9]+$/.test(name))
      .filter(
        (pid) => read(pid, 'cmdline').includes('plumbline.mjs\0agent') && read(pid, 'cgroup').includes(`${cgroup}/`),
      )
      .map(Number);
  };

  const agentPods = async () =>
    (
      await kubectl(
        '-n',
        RELEASE.namespace,
        'get',
        'pods',
        '-l',
        'app.kubernetes.io/component=agent',
        '-o',
        'jsonpath={.items[*].metadata.name}',
      )
    ).split(' ');
});
