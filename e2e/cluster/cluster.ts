// SPDX-License-Identifier: Apache-2.0
/**
 * A whole cluster on this machine: control plane, real nodes, a collector, Plumbline's images and chart. What
 * `make cluster` gives to a person, tests get from the same code.
 *
 * ```ts
 * const cluster = await Cluster.start({ nodes: 1, chart: { agent: { logLevel: 'debug' } } });
 * await cluster.controlPlane.apply(policyThatExportsTo(cluster.collector.grpcEndpoint));
 * await cluster.stop();
 * ```
 */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Collector, stopCollector } from './collector.ts';
import { ControlPlane, stopControlPlane } from './control-plane.ts';
import { Daemon } from './daemon.ts';
import { CHART, helm } from './helm.ts';
import { type BuiltImage, buildImages, type ImageName } from './images.ts';
import { RealNode } from './node.ts';
import { removeNode } from './node-removal.ts';

export interface ClusterOptions {
  /** Short path of a folder that does not exist yet. Default: a new one under the system's temporary folder. */
  readonly directory?: string;
  /** Number of real nodes. Default 1. */
  readonly nodes?: number;
  /** Values for the chart; `false` installs none and builds no image. Default: the chart's own values. */
  readonly chart?: Readonly<Record<string, unknown>> | false;
  /** Ports of the collector's receivers. Default: free ones. */
  readonly collectorPorts?: { readonly grpc: number; readonly http: number };
  /** Outlive this program. */
  readonly detached?: boolean;
  /** Told what is being done. */
  readonly progress?: (step: string) => void;
}

/** Namespace and name of the chart's release. */
export const RELEASE = { namespace: 'plumbline', name: 'plumbline' };
/** Temporary folders of clusters start with this. */
const PREFIX = 'plumbline-cluster-';

export class Cluster {
  readonly directory: string;
  readonly controlPlane: ControlPlane;
  readonly nodes: readonly RealNode[];
  /** Listens on the first node's address: pods reach it. */
  readonly collector: Collector;

  static async start(options: ClusterOptions = {}): Promise<Cluster> {
    const { detached = false, progress = () => {} } = options;
    const directory = options.directory ?? mkdtempSync(join(tmpdir(), PREFIX));
    mkdirSync(directory, { recursive: true });
    try {
      const images = options.chart === false ? undefined : await step(progress, 'images', buildImages);
      const controlPlane = await step(progress, 'control plane', () =>
        ControlPlane.start({ directory: join(directory, 'control-plane'), controllers: true, nodes: true, detached }),
      );
      const nodes: RealNode[] = [];
      for (let index = 0; index < (options.nodes ?? 1); index++) {
        nodes.push(await step(progress, `node ${index}`, () => RealNode.start(controlPlane, { index, detached })));
      }
      const collector = await step(progress, 'collector', () =>
        Collector.start({
          address: nodes[0]?.address,
          ports: options.collectorPorts,
          directory: join(directory, 'collector'),
          detached,
        }),
      );
      const cluster = new Cluster(directory, controlPlane, nodes, collector);
      if (images) await step(progress, 'chart', () => cluster.#install(images, options.chart || {}));
      return cluster;
    } catch (error) {
      await removeCluster(directory);
      throw error;
    }
  }

  private constructor(directory: string, controlPlane: ControlPlane, nodes: readonly RealNode[], collector: Collector) {
    this.directory = directory;
    this.controlPlane = controlPlane;
    this.nodes = nodes;
    this.collector = collector;
  }

  /** `helm upgrade` of the release with these values on top of those that it was installed with; waits for the pods. */
  async upgrade(values: Readonly<Record<string, unknown>>): Promise<void> {
    await this.#helm('upgrade', values, '--reuse-values');
  }

  stop(): Promise<void> {
    return removeCluster(this.directory);
  }

  async #install(images: Record<ImageName, BuiltImage>, values: Readonly<Record<string, unknown>>): Promise<void> {
    const imageValues: Record<string, string> = {};
    for (const [component, { repository, tag, archive }] of Object.entries(images)) {
      for (const node of this.nodes) await node.importImage(archive);
      imageValues[`${component}.image.repository`] = repository;
      imageValues[`${component}.image.tag`] = tag;
      imageValues[`${component}.image.pullPolicy`] = 'Never';
    }
    // The nodes' state must not outlive them, nor be shared by two on one machine.
    imageValues['agent.stateDirectory'] = join(this.directory, 'agent-state');
    const settings = Object.entries(imageValues).flatMap(([path, value]) => ['--set', `${path}=${value}`]);
    await this.#helm('install', values, '--create-namespace', ...settings);
  }

  async #helm(
    verb: 'install' | 'upgrade',
    values: Readonly<Record<string, unknown>>,
    ...flags: string[]
  ): Promise<void> {
    const file = join(this.directory, 'values.json');
    writeFileSync(file, JSON.stringify(values));
    const { namespace, name } = RELEASE;
    const args = [
      verb,
      name,
      CHART,
      '--namespace',
      namespace,
      '--values',
      file,
      '--wait',
      '--timeout',
      '120s',
      ...flags,
    ];
    await helm(args, this.controlPlane.kubeconfig);
  }
}

/** Removes a cluster of this or an earlier program, whatever is left of it. */
export async function removeCluster(directory: string): Promise<void> {
  const controlPlane = join(directory, 'control-plane');
  const folders = existsSync(controlPlane) ? readdirSync(controlPlane) : [];
  for (const name of folders.filter((folder) => folder.startsWith('node-'))) await removeNode(join(controlPlane, name));
  await stopCollector(join(directory, 'collector'));
  await stopControlPlane(controlPlane);
  rmSync(directory, { recursive: true, force: true });
}

/** Removes what tests left that were killed: clusters whose API server has ended with them. @returns their folders. */
export async function removeLeftovers(): Promise<string[]> {
  const removed: string[] = [];
  for (const name of readdirSync(tmpdir()).filter((folder) => folder.startsWith(PREFIX))) {
    const directory = join(tmpdir(), name);
    // A control plane's folder of its own, or one of a whole cluster.
    const whole = existsSync(join(directory, 'control-plane'));
    const controlPlane = whole ? join(directory, 'control-plane') : directory;
    if (Daemon.find(controlPlane, 'etcd')) continue;
    for (const node of readdirSync(controlPlane).filter((folder) => folder.startsWith('node-'))) {
      await removeNode(join(controlPlane, node));
    }
    await stopControlPlane(controlPlane);
    await removeCluster(directory);
    removed.push(directory);
  }
  return removed;
}

async function step<T>(progress: (text: string) => void, name: string, action: () => Promise<T>): Promise<T> {
  const started = performance.now();
  progress(`${name} …`);
  const result = await action();
  progress(`${name} ready after ${((performance.now() - started) / 1000).toFixed(1)} s`);
  return result;
}
