// SPDX-License-Identifier: Apache-2.0
/**
 * The operator at scale: thousands of Node objects and hundreds of policies on a real API server, with simulated agents
 * that answer. How long it takes until every node has its configuration, what the API server is asked for that, what the
 * operator costs, and what it writes when nothing changes.
 */
import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { API_VERSION } from '@plumbline/api';
import { customResourceDefinition, KINDS } from '@plumbline/api/crd';
import { type KubeObject, Reflector, Resource, Transport, type WrittenObject } from '@plumbline/kube';
import { kubeconfigAccess } from '@plumbline/kube/kubeconfig';
import { ControlPlane, type KubernetesObject } from '../e2e/cluster/control-plane.ts';
import { freePorts } from '../e2e/cluster/free-port.ts';
import { waitUntil } from '../e2e/cluster/wait-until.ts';
import { SimulatedAgents } from '../packages/operator/test/simulated-agents.ts';
import type { Table } from './table.ts';

interface Scale {
  readonly nodes: number;
  readonly policies: number;
  /** For so long nothing is changed, in seconds, and what the operator writes is counted. */
  readonly idleSeconds: number;
}

const FULL: Scale = { nodes: 5000, policies: 200, idleSeconds: 30 };
const BRIEF: Scale = { nodes: 500, policies: 50, idleSeconds: 15 };
/** Requests a second that the operator allows itself. */
const QPS = 50;
const POOL_SIZE = 100;
const NAMESPACES = 100;
const MINUTES_5 = 300_000;

interface Phase {
  what: string;
  seconds: number;
  requests: number;
  /** Writes by resource, from the API server's audit log. */
  configs: number;
  statuses: number;
  events: number;
  cpuSeconds: number;
  rssMiB: number;
}

/** A tenth of the policies concern every node, the others one pool each: about 24 rules a node with the defaults. */
function policyObjects({ nodes, policies }: Scale): WrittenObject[] {
  const pools = Math.ceil(nodes / POOL_SIZE);
  return Array.from({ length: policies }, (_, i) => {
    const everywhere = i % 10 === 0;
    const spec = {
      priority: i,
      ...(!everywhere && { nodeSelector: { matchLabels: { pool: `pool-${i % pools}` } } }),
      target: {
        namespaceSelector: { matchLabels: { team: `team-${i % 20}` } },
        podSelector: { matchLabels: { app: `app-${i}` } },
      },
      export: { otlp: { endpoint: 'otel-collector.observability:4317' } },
    };
    return {
      apiVersion: API_VERSION,
      kind: 'ProfilingPolicy',
      metadata: { name: `policy-${i}` },
      spec,
    };
  });
}

/** What the operator's process has used and asked for so far. */
async function sample(pid: number, port: number) {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ');
  const ticks = Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }));
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const mib = (field: string) => Number(new RegExp(`${field}:\\s+(\\d+)`).exec(status)?.[1]) / 1024;
  const metrics = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
  let requests = 0;
  let writes = 0;
  for (const [, method, count] of metrics.matchAll(
    /^rest_client_requests_total\{[^}]*method="([A-Z]+)"[^}]*\} (\d+)/gm,
  )) {
    requests += Number(count);
    if (method === 'PATCH' || method === 'POST' || method === 'DELETE') writes += Number(count);
  }
  return {
    cpuSeconds: (Number(stat[11]) + Number(stat[12])) / ticks,
    rssMiB: mib('VmRSS'),
    peakMiB: mib('VmHWM'),
    requests,
    writes,
  };
}

export async function benchOperatorScale(brief: boolean): Promise<Table> {
  const scale = brief ? BRIEF : FULL;
  const controlPlane = await ControlPlane.start();
  const stops: (() => Promise<unknown>)[] = [() => controlPlane.stop()];
  const stopAll = async () => {
    for (const stop of stops.splice(0).reverse()) await stop();
  };
  for (const signal of ['SIGINT', 'SIGTERM'] as const)
    process.once(signal, () => stopAll().finally(() => process.exit(1)));
  try {
    await controlPlane.apply(...(KINDS.map(customResourceDefinition) as unknown as KubernetesObject[]));
    const access = kubeconfigAccess(controlPlane.kubeconfig);
    const transport = new Transport({ access, userAgent: 'operator-scale', qps: 2_000, burst: 2_000, connections: 32 });
    stops.push(() => transport.close());

    const inParallel = async <T>(items: T[], work: (item: T) => Promise<unknown>) => {
      const queue = items.values();
      await Promise.all(
        Array.from({ length: 32 }, async () => {
          for (const item of queue) await work(item);
        }),
      );
    };
    console.log(`  creating ${scale.nodes} nodes and ${NAMESPACES} namespaces`);
    const nodes = new Resource(transport, { group: '', version: 'v1', plural: 'nodes' });
    await inParallel(
      Array.from({ length: scale.nodes }, (_, i) => i),
      (i) =>
        nodes.create({
          apiVersion: 'v1',
          kind: 'Node',
          metadata: {
            name: `node-${i}`,
            labels: {
              'kubernetes.io/os': 'linux',
              'kubernetes.io/hostname': `node-${i}`,
              pool: `pool-${i % Math.ceil(scale.nodes / POOL_SIZE)}`,
              'topology.kubernetes.io/zone': `zone-${i % 3}`,
            },
          },
          status: { conditions: [{ type: 'Ready', status: 'True' }] },
        }),
    );
    const namespaces = new Resource(transport, { group: '', version: 'v1', plural: 'namespaces' });
    await inParallel(
      Array.from({ length: NAMESPACES }, (_, i) => i),
      (i) =>
        namespaces.create({
          apiVersion: 'v1',
          kind: 'Namespace',
          metadata: { name: `namespace-${i}`, labels: { team: `team-${i % 20}` } },
        }),
    );

    // How many nodes have how many rules, from a watch of its own.
    const profiling = (plural: string) =>
      new Resource(transport, { group: 'profiling.plumbline.dev', version: 'v1alpha1', plural });
    type Config = KubeObject & {
      spec: { rules: unknown[]; sampling: { frequencyHz: number } };
      status?: { appliedHash?: string; lastHeartbeat?: string };
    };
    const configs = new Reflector<{ rules: number; hz: number; heard: boolean }>({
      transport,
      path: profiling('nodeprofilingconfigs').path,
      name: 'configs',
      convert: (object) => {
        const { spec, status } = object as Config;
        return { rules: spec.rules.length, hz: spec.sampling.frequencyHz, heard: status?.lastHeartbeat !== undefined };
      },
    });
    const watching = new AbortController();
    const watched = configs.run(watching.signal);
    const agents = new SimulatedAgents(access, { qps: 1_000 });
    stops.push(
      () => agents.stop(),
      async () => {
        watching.abort();
        await watched;
      },
    );

    const [port] = await freePorts(1);
    // As in production: bundled. Run from its sources, Node's type stripping alone takes a hundred MiB.
    const bundle = mkdtempSync(join(tmpdir(), 'plumbline-bundle-'));
    stops.push(async () => rmSync(bundle, { recursive: true }));
    execFileSync(process.execPath, [join(import.meta.dirname, '../scripts/bundle.ts'), bundle], {
      cwd: join(import.meta.dirname, '..'),
    });
    const main = join(bundle, 'operator/operator.mjs');
    const args = [
      main,
      '--kubeconfig',
      controlPlane.kubeconfig,
      '--no-leader-elect',
      '--http',
      `127.0.0.1:${port}`,
      '--qps',
      `${QPS}`,
      '--burst',
      `${2 * QPS}`,
    ];
    const operator = spawn(process.execPath, ['--max-semi-space-size=4', '--max-old-space-size=256', ...args], {
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    const exited = new Promise((resolve) => operator.once('exit', resolve));
    stops.push(async () => {
      operator.kill('SIGTERM');
      await exited;
    });
    await waitUntil('the operator', async () => (await fetch(`http://127.0.0.1:${port}/readyz`)).ok, {
      timeout: 60_000,
    });

    const writtenSince = (from: number) => {
      const ours = controlPlane
        .auditEvents()
        .slice(from)
        .filter(({ userAgent }) => userAgent?.startsWith('plumbline-operator'));
      const of = (resource: string) => ours.filter(({ objectRef }) => objectRef?.resource === resource).length;
      return { configs: of('nodeprofilingconfigs'), statuses: of('profilingpolicies'), events: of('events') };
    };
    const phases: Phase[] = [];
    const phase = async (what: string, run: () => Promise<unknown>) => {
      console.log(`  ${what}`);
      const before = await sample(operator.pid!, port);
      const firstWrite = controlPlane.auditEvents().length;
      const started = performance.now();
      await run();
      const seconds = (performance.now() - started) / 1000;
      const after = await sample(operator.pid!, port);
      const result = {
        what,
        seconds,
        requests: after.requests - before.requests,
        ...writtenSince(firstWrite),
        cpuSeconds: after.cpuSeconds - before.cpuSeconds,
        rssMiB: after.rssMiB,
      };
      phases.push(result);
      console.log(`    ${rowOf(result).slice(1).join(', ')}`);
    };
    const count = (test: (config: { rules: number; hz: number; heard: boolean }) => boolean) =>
      [...configs.values()].filter(test).length;
    const until = (what: string, done: () => boolean | Promise<boolean>) =>
      waitUntil(what, done, { timeout: 2 * MINUTES_5, interval: 250 });
    const allReady = async () => {
      const list = await transport.request<{
        items: { status?: { conditions?: { type: string; status: string }[] } }[];
      }>({ method: 'GET', path: profiling('profilingpolicies').path });
      return list.items.every(({ status }) =>
        status?.conditions?.some(({ type, status: value }) => type === 'Ready' && value === 'True'),
      );
    };

    await phase('first start: an object for every node', () =>
      until('all objects', () => configs.size === scale.nodes && count(({ heard }) => heard) === scale.nodes),
    );

    const expected = new Map<string, number>();
    for (const { spec } of policyObjects(scale) as unknown as {
      spec: { nodeSelector?: { matchLabels: { pool: string } } };
    }[]) {
      const pool = spec.nodeSelector?.matchLabels.pool ?? 'all';
      expected.set(pool, (expected.get(pool) ?? 0) + 1);
    }
    const pools = Math.ceil(scale.nodes / POOL_SIZE);
    const wanted = (name: string) =>
      (expected.get('all') ?? 0) + (expected.get(`pool-${Number(name.split('-')[1]) % pools}`) ?? 0);
    const complete = () => {
      for (let i = 0; i < scale.nodes; i++) if (configs.get(`node-${i}`)?.rules !== wanted(`node-${i}`)) return false;
      return true;
    };
    await phase(`${scale.policies} policies at once: every configuration written`, async () => {
      const resource = profiling('profilingpolicies');
      await inParallel(policyObjects(scale), (object) => resource.create(object));
      await until('all configurations', complete);
    });
    await phase('every policy Ready in its status', () => until('all Ready', allReady));
    await phase('one policy changed for every node', async () => {
      await profiling('profilingpolicies').mergePatch(`policy-${10 * Math.floor((scale.policies - 1) / 10)}`, {
        spec: { sampling: { frequencyHz: 97 } },
      });
      await until('all changed', () => count(({ hz }) => hz === 97) === scale.nodes);
      await until('all Ready', allReady);
    });
    const rest = async () => {
      // Figures in statuses come to rest within a minute.
      for (let last = -1; ; ) {
        const { writes } = await sample(operator.pid!, port);
        if (writes === last) return;
        last = writes;
        await delay(15_000);
      }
    };
    await rest();
    await phase(`nothing changes for ${scale.idleSeconds} s`, () => delay(scale.idleSeconds * 1000));
    await phase('one namespace relabelled: every node follows', async () => {
      await namespaces.mergePatch('namespace-0', { metadata: { labels: { team: 'team-unknown' } } });
      await rest();
    });
    const { peakMiB } = await sample(operator.pid!, port);
    return tableOf(scale, phases, peakMiB, agents.writes);
  } finally {
    await stopAll();
  }
}

function rowOf(phase: Phase): string[] {
  return [
    phase.what,
    `${phase.seconds.toFixed(0)} s`,
    `${phase.requests}`,
    `${phase.configs}`,
    `${phase.statuses}`,
    `${phase.events}`,
    `${phase.cpuSeconds.toFixed(1)} s`,
    `${phase.rssMiB.toFixed(0)} MiB`,
  ];
}

function tableOf({ nodes, policies }: Scale, phases: readonly Phase[], peakMiB: number, agentWrites: number): Table {
  return {
    title: 'The operator at scale',
    command: 'make bench (case operator)',
    head: ['', 'time', 'requests', 'configurations written', 'statuses', 'events', 'CPU of the operator', 'resident'],
    rows: phases.map(rowOf),
    notes: [
      `${nodes} nodes, ${policies} policies (a tenth of them for every node, the others for ${POOL_SIZE} nodes each), at most ${QPS} requests a second; peak of the operator ${peakMiB.toFixed(0)} MiB. API server, etcd, operator and simulated agents (${agentWrites} status writes) share the machine.`,
    ],
  };
}
