// SPDX-License-Identifier: Apache-2.0
/**
 * A real Kubernetes node on this machine: containerd, runc and a kubelet, beside whatever else runs here. Several fit on
 * one machine: each has its own folder, socket, address on `lo`, bridge, pod network and cgroup.
 *
 * ```ts
 * const controlPlane = await ControlPlane.start({ controllers: true, nodes: true });
 * const node = await RealNode.start(controlPlane);              // Ready when it returns
 * await node.importImage('/path/of/an/oci-layout.tar');         // pods then use it with imagePullPolicy: Never
 * await node.stop();                                            // no process, mount, address, bridge or cgroup is left
 * ```
 *
 * `localhost/busybox:1` is there from the start. Pods reach the API server at its ClusterIP; there is no kube-proxy, no
 * cluster DNS and no way out of the node. Needs: root; cgroup v1, hybrid or v2.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { baseImages } from './base-images.ts';
import { createCgroup } from './cgroups.ts';
import type { ControlPlane } from './control-plane.ts';
import { Daemon } from './daemon.ts';
import { borrowHostSettings } from './host-settings.ts';
import { containerdConfig, kubeletConfig, podNetworkConfig } from './node-config.ts';
import { type NodeTraces, recordNode, removeNode } from './node-removal.ts';
import { ensureTools } from './tools.ts';

export interface NodeOptions {
  /** 0–15, different for every node of a control plane. Default 0. */
  readonly index?: number;
  /** Default `node-<index>`. */
  readonly name?: string;
  readonly labels?: Readonly<Record<string, string>>;
  /** Outlive this program (`make cluster`). */
  readonly detached?: boolean;
}

export class RealNode {
  readonly name: string;
  readonly directory: string;
  /** Address of the kubelet and of pods with hostNetwork. */
  readonly address: string;
  /** containerd's socket. */
  readonly socket: string;
  /** Path below every cgroup hierarchy's root under which the kubelet keeps `kubepods`. */
  readonly cgroup: string;
  readonly #ctr: string;

  static async start(controlPlane: ControlPlane, options: NodeOptions = {}): Promise<RealNode> {
    const { index = 0, detached = false } = options;
    const name = options.name ?? `node-${index}`;
    const programs = await ensureTools([
      'kubelet',
      'containerd',
      'containerd-shim-runc-v2',
      'ctr',
      'runc',
      'cni-plugins',
      'busybox',
    ]);
    const id = `${controlPlane.network}-${index}`;
    const directory = join(controlPlane.directory, `node-${index}`);
    const traces: NodeTraces = {
      id,
      directory,
      socket: join(directory, 'containerd.sock'),
      runc: programs.runc,
      runcRoot: join(directory, 'runc'),
      address: `10.${controlPlane.network}.255.${10 + index}`,
      bridge: `plumb${id}`,
      cgroup: `/plumbline-${id}`,
    };
    if (traces.socket.length > 100)
      throw new Error(`${traces.socket}: too long for a unix socket, choose a shorter folder`);
    recordNode(traces);
    const node = new RealNode(name, traces, programs.ctr);
    try {
      borrowHostSettings(id);
      execFileSync('ip', ['address', 'add', `${traces.address}/32`, 'dev', 'lo']);
      createCgroup(traces.cgroup);
      await node.#startContainerd(programs, controlPlane.network, index, detached);
      for (const image of await baseImages(programs.busybox)) await node.importImage(image);
      await node.#startKubelet(controlPlane, programs.kubelet, options.labels ?? {}, detached);
    } catch (error) {
      await node.stop();
      throw error;
    }
    return node;
  }

  private constructor(name: string, traces: NodeTraces, ctr: string) {
    this.name = name;
    this.directory = traces.directory;
    this.address = traces.address;
    this.socket = traces.socket;
    this.cgroup = traces.cgroup;
    this.#ctr = ctr;
  }

  /** Makes an image of an OCI layout archive known to the kubelet, under the name that the archive gives it. */
  async importImage(archive: string): Promise<void> {
    execFileSync(this.#ctr, ['--address', this.socket, '--namespace', 'k8s.io', 'images', 'import', archive], {
      stdio: 'pipe',
    });
  }

  /** Kills its pods and removes every trace. The Node object stays: delete it as well where that matters. */
  stop(): Promise<void> {
    return removeNode(this.directory);
  }

  async #startContainerd(
    programs: Record<'containerd' | 'containerd-shim-runc-v2' | 'runc' | 'cni-plugins', string>,
    network: number,
    index: number,
    detached: boolean,
  ): Promise<void> {
    const { directory, socket } = this;
    const cniConfig = join(directory, 'cni');
    mkdirSync(cniConfig);
    const podNetwork = podNetworkConfig({
      bridge: `plumb${network}-${index}`,
      subnet: `10.244.${(network - 96) * 16 + index}.0/24`,
      stateDirectory: join(directory, 'cni-addresses'),
    });
    writeFileSync(join(cniConfig, '10-plumbline.conflist'), podNetwork);
    const config = join(directory, 'containerd.toml');
    const runcRoot = join(directory, 'runc');
    writeFileSync(
      config,
      containerdConfig({
        directory,
        socket,
        cniConfig,
        runcRoot,
        runc: programs.runc,
        cniPlugins: programs['cni-plugins'],
      }),
    );
    const daemon = Daemon.start({
      name: 'containerd',
      command: programs.containerd,
      args: ['--config', config],
      directory,
      detached,
      env: { PATH: `${dirname(programs['containerd-shim-runc-v2'])}:${process.env.PATH}` }, // it looks for its shim there
    });
    await daemon.waitUntilReady(() => execFileSync(this.#ctr, ['--address', socket, 'version'], { stdio: 'pipe' }));
  }

  async #startKubelet(
    controlPlane: ControlPlane,
    command: string,
    labels: Readonly<Record<string, string>>,
    detached: boolean,
  ): Promise<void> {
    const { directory, name, address, socket, cgroup } = this;
    const identity = { commonName: `system:node:${name}`, organization: 'system:nodes' };
    const serving = controlPlane.authority.issue({
      name: `kubelet-server-${name}`,
      ...identity,
      serverNames: [`DNS:${name}`, `IP:${address}`],
    });
    const kubeconfig = controlPlane.authority.issueKubeconfig(controlPlane.server, {
      name: `kubelet-${name}`,
      ...identity,
    });
    const config = join(directory, 'kubelet.json');
    const certificateAuthority = controlPlane.certificateAuthority;
    writeFileSync(config, kubeletConfig({ directory, socket, address, cgroup, serving, certificateAuthority }));
    const daemon = Daemon.start({
      name: 'kubelet',
      command,
      args: [
        `--config=${config}`,
        `--kubeconfig=${kubeconfig}`,
        `--root-dir=${join(directory, 'kubelet')}`,
        `--cert-dir=${join(directory, 'kubelet', 'pki')}`,
        `--hostname-override=${name}`,
        `--node-ip=${address}`,
        `--node-labels=${Object.entries(labels)
          .map(([key, value]) => `${key}=${value}`)
          .join(',')}`,
      ],
      directory,
      detached,
    });
    const isReady = ['get', 'node', name, '-o', 'jsonpath={.status.conditions[?(@.type=="Ready")].status}'];
    await daemon.waitUntilReady(async () => (await controlPlane.kubectl(...isReady)) === 'True', 90_000);
  }
}
