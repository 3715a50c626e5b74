// SPDX-License-Identifier: Apache-2.0
/**
 * `kubectl plumbline`, as a user with no more than the chart's roles runs it, on a real API server: agents' HTTP servers with
 * known profiles stand behind its pod proxy.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { networkInterfaces } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { reasons } from '@plumbline/bpf';
import { Health } from '../../packages/agent/src/http/health.ts';
import { RecentProfiles } from '../../packages/agent/src/http/recent-profiles.ts';
import { type HttpServer, startHttpServer } from '../../packages/agent/src/http/server.ts';
import { silentLogger } from '../../packages/agent/src/log.ts';
import { ATTRIBUTE } from '../../packages/agent/src/profile/attribute-names.ts';
import { NO_MAPPING } from '../../packages/agent/src/profile/mapping-table.ts';
import { Profile } from '../../packages/agent/src/profile/profile.ts';
import { ControlPlane } from '../cluster/control-plane.ts';
import { createFakeNodes } from '../cluster/fake-nodes.ts';
import { CHART, helm } from '../cluster/helm.ts';
import { ensureTool } from '../cluster/tools.ts';
import { waitUntil } from '../cluster/wait-until.ts';

const NAMESPACE = 'profiling';
const BIN = join(import.meta.dirname, '..', '..', 'bin');
const NODES = ['node-a', 'node-b'];
const sentences = new Map(reasons.map(({ name, sentence }) => [name as string, sentence as string]));

/** The API server refuses to proxy to loopback addresses. */
function ownAddress(): string {
  const address = Object.values(networkInterfaces())
    .flat()
    .find((one) => one?.family === 'IPv4' && !one.internal)?.address;
  assert.ok(address, 'this machine has an address');
  return address;
}

/** What the agent of a node saw: checkout is cut on both nodes, ledger runs on the second alone. */
function profileOf(node: string): Profile {
  const profile = new Profile({ startUnixNano: BigInt(Date.now()) * 1_000_000n, periodNano: 10_000_000 });
  const add = (service: string, pid: number, frames: string[], count: number, cut?: Record<string, string>) => {
    const resource = {
      [ATTRIBUTE.processPid]: pid,
      [ATTRIBUTE.processExecutableName]: service,
      [ATTRIBUTE.namespaceName]: 'shop',
      [ATTRIBUTE.podName]: `${service}-${node}`,
      [ATTRIBUTE.serviceName]: service,
    };
    const handles = frames.map((name) => profile.internFrame('native', NO_MAPPING, name.length, [{ name }]));
    if (cut) handles.push(profile.internTruncatedRoot(cut.reason));
    profile.addSample(
      profile.attributes.internSet(resource),
      profile.stacks.internLeafFirst(handles),
      {
        [ATTRIBUTE.stackOutcome]: cut ? 'truncated' : 'complete',
        [ATTRIBUTE.truncationReason]: cut?.reason,
        [ATTRIBUTE.truncationFile]: cut?.file,
        [ATTRIBUTE.truncationBuildId]: cut?.buildId,
        [ATTRIBUTE.policyName]: 'shop',
      },
      count,
    );
  };
  add('checkout', 11, ['pay', 'main', '_start'], 90);
  add('checkout', 11, ['hash', 'foo_run'], 10, { reason: 'no_unwind_info', file: '/opt/libfoo.so', buildId: 'ab12' });
  if (node === 'node-b') add('ledger', 12, ['append', 'main', '_start'], 500);
  return profile;
}

describe('kubectl plumbline', { timeout: 600_000 }, () => {
  let controlPlane: ControlPlane;
  let kubectl: string;
  let kubeconfig: string;
  const servers: HttpServer[] = [];

  // The agents' servers are in this process: it must not wait for the plugin.
  const run = (...args: string[]) => {
    const path = [BIN, dirname(kubectl), process.env.PATH].join(delimiter);
    const env = { ...process.env, PATH: path, KUBECONFIG: kubeconfig, NODE_OPTIONS: '', NODE_TEST_CONTEXT: '' };
    return new Promise<{ status: number; stdout: string; stderr: string }>((resolve) => {
      const options = { env, timeout: 60_000, maxBuffer: 2 ** 26 };
      execFile(kubectl, ['plumbline', ...args], options, (error, stdout, stderr) => {
        resolve({ status: error ? Number(error.code ?? 1) : 0, stdout, stderr });
      });
    });
  };
  const succeed = async (...args: string[]) => {
    const { status, stdout, stderr } = await run(...args);
    assert.equal(status, 0, `${stdout}\n${stderr}`);
    return stdout;
  };

  before(async () => {
    const address = ownAddress();
    controlPlane = await ControlPlane.start();
    kubectl = await ensureTool('kubectl');
    const { authority, server } = controlPlane;
    kubeconfig = authority.issueKubeconfig(server, { name: 'dev', commonName: 'dev', organization: 'developers' });
    const admin = controlPlane.client();
    await createFakeNodes(
      admin,
      NODES.map((name) => ({ name })),
    );
    admin.close();
    await helm(
      ['install', 'plumbline', CHART, '--namespace', NAMESPACE, '--create-namespace'],
      controlPlane.kubeconfig,
    );
    await controlPlane.kubectl('create', 'namespace', 'shop');
    for (const node of NODES) {
      const recent = new RecentProfiles({ windowMs: 300_000 });
      recent.add(profileOf(node));
      const http = await startHttpServer({
        listen: { host: address, port: 0 },
        metrics: { contentType: 'text/plain', text: async () => '' },
        health: new Health(),
        recent,
        explain: () => ({
          kernel: node === 'node-a' ? '5.10.0-33' : '6.18.0',
          strategy: node === 'node-a' ? 'tailCall' : 'loop',
          kernelLimits: [],
          policies: [{ name: 'shop', maxFrames: 1024, spill: 'Auto' }],
          sentences,
        }),
        usual: () => ({ truncatedRatio: 0.002, depth: 40 }),
        sentences,
        facts: () => [],
        refreshSeconds: 10,
        version: '0.0.0',
        log: silentLogger,
      });
      servers.push(http);
      const port = Number(http.address.slice(http.address.lastIndexOf(':') + 1));
      const labels = { 'app.kubernetes.io/part-of': 'plumbline', 'app.kubernetes.io/component': 'agent' };
      await pod(NAMESPACE, `agent-${node}`, node, { labels, port, address });
      const limits = node === 'node-a' ? [{ feature: 'loop', since: '5.17', effect: 'tail calls are chained' }] : [];
      await nodeConfig(node, node === 'node-a' ? '5.10.0-33' : '6.18.0', limits);
    }
    await policy();
  });
  after(async () => {
    for (const server of servers) await server.close();
    await controlPlane?.stop();
  });

  const patchStatus = (resource: string, name: string, status: object, ...more: string[]) =>
    controlPlane.kubectl(
      'patch',
      resource,
      name,
      '--subresource=status',
      '--type=merge',
      '-p',
      JSON.stringify({ status }),
      ...more,
    );

  const pod = async (
    namespace: string,
    name: string,
    nodeName: string,
    { labels, port, address }: { labels: Record<string, string>; port: number; address: string },
  ) => {
    const containers = [{ name: 'agent', image: 'none', ports: [{ name: 'http', containerPort: port }] }];
    const spec = { nodeName, containers, serviceAccountName: 'plumbline-agent', automountServiceAccountToken: false };
    await controlPlane.apply({ apiVersion: 'v1', kind: 'Pod', metadata: { name, namespace, labels }, spec });
    const status = { phase: 'Running', podIP: address, podIPs: [{ ip: address }] };
    await patchStatus('pod', name, status, '-n', namespace);
  };

  const nodeConfig = async (name: string, kernel: string, kernelLimits: object[]) => {
    const spec = { configHash: '0123456789abcdef', rules: [] };
    await waitUntil('nodeprofilingconfigs to be served', async () => {
      await controlPlane.apply({
        apiVersion: 'profiling.plumbline.dev/v1alpha1',
        kind: 'NodeProfilingConfig',
        metadata: { name },
        spec,
      });
      return true;
    });
    const ready = name === 'node-a' ? 'False' : 'True';
    const lastTransitionTime = '2026-01-01T00:00:00Z';
    const conditions = [
      { type: 'Ready', status: ready, reason: 'PermissionDenied', message: 'lacks CAP_BPF', lastTransitionTime },
    ];
    const strategy = name === 'node-a' ? 'TailCall' : 'Loop';
    await patchStatus('npc', name, { kernel, strategy, kernelLimits, conditions });
  };

  const policy = async () => {
    await controlPlane.apply({
      apiVersion: 'profiling.plumbline.dev/v1alpha1',
      kind: 'ProfilingPolicy',
      metadata: { name: 'shop' },
      spec: { target: { podSelector: { matchLabels: { app: 'checkout' } } }, objective: { truncatedRatio: '0.05' } },
    });
    const lastTransitionTime = '2026-01-01T00:00:00Z';
    const missed = 'Truncated ratio 0.1, objective 0.05, usually 0.002; worst: shop/checkout; mostly no_unwind_info.';
    await patchStatus('profpol', 'shop', {
      nodes: { targeted: 2, updated: 2, applied: 2, failed: 0, notReporting: 0 },
      truncation: {
        ratio: '0.1',
        baselineRatio: '0.002',
        depth: 31,
        baselineDepth: 42,
        worstWorkload: 'shop/checkout',
        topReason: 'no_unwind_info',
      },
      conditions: [
        { type: 'Ready', status: 'True', reason: 'AllNodesApplied', message: '', lastTransitionTime },
        { type: 'ObjectiveMet', status: 'False', reason: 'TruncationHigh', message: missed, lastTransitionTime },
      ],
    });
  };

  it('is refused without the roles, and says which page names them', async () => {
    for (const args of [['status'], ['top', '--agents-namespace', NAMESPACE]]) {
      const { status, stderr } = await run(...args);
      assert.equal(status, 1);
      assert.match(
        stderr,
        /forbidden: User "dev" cannot list resource .+; ask for the roles that docs\/kubectl\.md names/,
      );
    }
  });

  it('status: policies, nodes by strategy and kernel, what a newer kernel would lift', async () => {
    await controlPlane.kubectl('create', 'clusterrolebinding', 'dev', '--clusterrole=plumbline-viewer', '--user=dev');
    const text = await waitUntil('the binding to hold', () => succeed('status'));
    assert.match(text, /^shop +True +2\/2 +5\.0 % +10\.0 % +False +0\.2 % +31 +42 +shop\/checkout +no_unwind_info$/m);
    assert.match(text, /^shop: Truncated ratio 0\.1, objective 0\.05, usually 0\.002/m);
    assert.match(text, /^TailCall +5\.10 +1 +0$/m);
    assert.match(text, /^Loop +6\.18 +1 +1$/m);
    assert.match(text, /^node-a: PermissionDenied: lacks CAP_BPF$/m);
    assert.match(text, /^ +5\.17 +1 +tail calls are chained$/m);
    const { policies, nodes } = JSON.parse(await succeed('status', '--json'));
    assert.deepEqual([policies[0].name, policies[0].truncation.ratio, nodes.length], ['shop', '0.1', 2]);
  });

  it('top: workloads of all nodes through the pod proxy, worst first, beside what is usual', async () => {
    const args = ['create', 'rolebinding', 'dev', '--role=plumbline-profile-reader', '--user=dev', '-n', NAMESPACE];
    await controlPlane.kubectl(...args);
    const top = ['top', '--agents-namespace', NAMESPACE];
    const text = await waitUntil('the binding to hold', () => succeed(...top));
    const [, first, second] = text.split('\n');
    assert.match(first, /^shop\/checkout +shop +200 +10\.0 % +0\.2 % +3 +40 +no_unwind_info$/);
    assert.match(second, /^shop\/ledger +shop +500 +0\.0 % +0\.2 % +3 +40$/);
    const { nodes, workloads } = JSON.parse(await succeed(...top, '-n', 'shop', '--json', '--limit', '1'));
    assert.deepEqual([nodes, workloads.length, workloads[0].truncated], [{ asked: 2, answered: 2 }, 1, 20]);
    assert.equal(await succeed(...top, '-n', 'nowhere'), 'No user stacks were sampled.\n');
  });

  it('explain: the file to be built anew, over all nodes', async () => {
    const text = await succeed('explain', 'shop/checkout', '--agents-namespace', NAMESPACE);
    assert.match(
      text,
      /^shop\/checkout: 20 of 200 user stacks are cut \(10\.0 %\); strategy tailCall, loop, Linux 5\.10\.0-33, 6\.18\.0$/m,
    );
    assert.match(text, /→ Build the file with -fasynchronous-unwind-tables/);
    assert.match(text, /\/opt\/libfoo\.so \(build id ab12\): 20 samples; in foo_run/);
    const object = JSON.parse(
      await succeed('explain', '-n', 'shop', 'deploy/ledger', '--agents-namespace', NAMESPACE, '--json'),
    );
    assert.deepEqual([object.workload, object.nodes, object.samples, object.truncated], ['shop/ledger', 1, 500, 0]);
  });

  it('flame: one page of a workload over all nodes', async () => {
    const page = await succeed('flame', 'shop/checkout', '--since', '5m', '--agents-namespace', NAMESPACE);
    assert.match(page, /^<!doctype html>/);
    const data = JSON.parse(/<script type="application\/json" id="data">(.+?)<\/script>/s.exec(page)![1]);
    assert.deepEqual(
      [data.title, data.facts.find(({ name }: { name: string }) => name === 'nodes').value],
      ['Plumbline: shop/checkout', '2'],
    );
    assert.deepEqual(
      data.processes.map(({ container, total, truncated }: Record<string, unknown>) => [container, total, truncated]),
      NODES.map((node) => [`${node}/shop/checkout-${node}`, 100, 10]),
    );
    assert.equal(
      data.outcomes.reduce((sum: number, { count }: { count: number }) => sum + count, 0),
      200,
    );
    assert.ok(data.frames.label.includes('foo_run') && !data.frames.label.includes('append'));
    const { status, stderr } = await run('flame', 'shop/nothing', '--agents-namespace', NAMESPACE);
    assert.equal(status, 1);
    assert.match(stderr, /no samples of shop\/nothing in that time; see kubectl plumbline top/);
  });

  it('an agent that does not answer is named, and the others answer', async () => {
    await servers[0].close();
    const { status, stdout, stderr } = await run('top', '--agents-namespace', NAMESPACE);
    assert.equal(status, 0, stderr);
    assert.match(stderr, /^missing: the agent of node-a does not answer: /m);
    assert.match(stdout, /^shop\/checkout +shop +100 /m);
  });

  it('says what is wrong with a line', async () => {
    const refusals: [string[], RegExp][] = [
      [['topp'], /unknown command topp.*top.*; see `kubectl plumbline --help`/],
      [['explain'], /the workload is missing/],
      [['flame', 'a/b/c'], /"a\/b\/c" is not a workload/],
      [['top', '--since', 'long'], /--since "long" is not a duration; write it as 30s/],
      [['top', '--context', 'none'], /no context none/],
    ];
    for (const [args, message] of refusals) {
      const { status, stderr } = await run(...args);
      assert.notEqual(status, 0, args.join(' '));
      assert.match(stderr, message);
    }
  });
});
