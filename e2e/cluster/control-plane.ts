// SPDX-License-Identifier: Apache-2.0
/**
 * A real Kubernetes control plane for tests: etcd and kube-apiserver, on request also kube-controller-manager and
 * kube-scheduler, with certificates and data in a folder of their own.
 *
 * ```ts
 * const controlPlane = await ControlPlane.start();              // 127.0.0.1, free ports, no controllers: 3–6 s
 * await controlPlane.apply(crd, policy);                        // server-side apply of objects
 * await controlPlane.kubectl('get', 'profpol', '-o', 'wide');   // stdout; throws with stderr
 * new KubeConfig().loadFromFile(controlPlane.kubeconfig);       // cluster-admin; also `server`, `certificateAuthority`
 * await controlPlane.kill('kube-apiserver');                    // SIGKILL; start it again on the same port and data:
 * await controlPlane.restart('kube-apiserver');
 * controlPlane.client(16).request('GET', '/api/v1/nodes');      // JSON requests without a process each
 * controlPlane.auditEvents();                                   // who wrote what: create, update, patch, delete
 * await controlPlane.stop();                                    // ends the processes, removes the folder
 * ```
 *
 * `ControlPlane.start({ controllers: true, nodes: true })` is what a real node (`node.ts`) needs. The processes end with
 * the program that started them, however it ends, unless `detached`.
 *
 * Needs: openssl, setpriv; root only for `nodes: true`. Programs come from `tools.ts` (built on the first use).
 */
import { execFile, execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ApiClient } from './api-client.ts';
import { CertificateAuthority } from './certificates.ts';
import { COMPONENTS, type Component, componentFlags } from './component-flags.ts';
import { Daemon } from './daemon.ts';
import { freePorts } from './free-port.ts';
import { ensureTools } from './tools.ts';
import { waitUntil } from './wait-until.ts';

export type { Component };

export interface ControlPlaneOptions {
  /** Folder for everything; must not exist yet. Default: a new one under the system's temporary folder. */
  readonly directory?: string;
  /** Also run kube-controller-manager and kube-scheduler, and wait for the default ServiceAccount. */
  readonly controllers?: boolean;
  /**
   * Listen on the ClusterIP of the `kubernetes` Service, added to `lo`, so that pods of real nodes on this machine reach
   * the API server without kube-proxy. Default: 127.0.0.1 and a free port.
   */
  readonly nodes?: boolean;
  /** Further flags by component. */
  readonly flags?: Partial<Record<Component, readonly string[]>>;
  /** Outlive this program (`make cluster`). */
  readonly detached?: boolean;
}

/** An object as the API server takes it. */
export interface KubernetesObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string; readonly [field: string]: unknown };
  readonly [field: string]: unknown;
}

/** The fields of an audit event that tests look at (audit.k8s.io/v1 Event, level Metadata). */
export interface AuditEvent {
  readonly verb: string;
  readonly user: { readonly username: string };
  readonly userAgent?: string;
  readonly objectRef?: {
    readonly apiGroup?: string;
    readonly resource: string;
    readonly subresource?: string;
    readonly namespace?: string;
    readonly name?: string;
  };
  readonly responseStatus?: { readonly code: number };
  readonly requestReceivedTimestamp: string;
}

/** Second byte of 10.x.0.0/16 service networks: one control plane with nodes takes the first that is free. */
const SERVICE_NETWORKS = Array.from({ length: 16 }, (_, index) => 96 + index);

export class ControlPlane {
  /** Holds `pki/`, `etcd/`, logs (`<component>.log`, `audit.log`) and pid files. */
  readonly directory: string;
  /** `https://address:port` */
  readonly server: string;
  /** Second byte of the service network 10.x.0.0/16. */
  readonly network: number;
  /** Path of a kubeconfig with all rights. */
  readonly kubeconfig: string;
  readonly authority: CertificateAuthority;
  readonly #kubectl: string;
  readonly #commands: Record<Component, { command: string; args: string[] }>;
  readonly #daemons = new Map<Component, Daemon>();
  readonly #detached: boolean;
  readonly #probes: Record<Component, () => Promise<unknown>>;

  static async start(options: ControlPlaneOptions = {}): Promise<ControlPlane> {
    const components = options.controllers ? COMPONENTS : COMPONENTS.slice(0, 2);
    const programs = (await ensureTools([...components, 'kubectl'])) as Record<Component | 'kubectl', string>;
    const ports = await freePorts(5);
    const directory = options.directory ?? mkdtempSync(join(tmpdir(), 'plumbline-cluster-'));
    if (options.directory) mkdirSync(directory, { recursive: true });
    try {
      const controlPlane = new ControlPlane(directory, options, components, programs, ports);
      for (const component of components) await controlPlane.restart(component);
      if (options.controllers) {
        await waitUntil('the default ServiceAccount', () => controlPlane.kubectl('get', 'serviceaccount', 'default'), {
          timeout: 120_000,
        });
      }
      return controlPlane;
    } catch (error) {
      await stopControlPlane(directory);
      throw error;
    }
  }

  private constructor(
    directory: string,
    options: ControlPlaneOptions,
    components: readonly Component[],
    programs: Record<Component | 'kubectl', string>,
    [etcdPort, peerPort, apiPort, managerPort, schedulerPort]: number[],
  ) {
    const network = options.nodes ? claimServiceNetwork(directory) : SERVICE_NETWORKS[0];
    const address = options.nodes ? `10.${network}.0.1` : '127.0.0.1';
    const port = options.nodes ? 443 : apiPort;
    const authority = new CertificateAuthority(join(directory, 'pki'));
    this.directory = directory;
    this.network = network;
    this.server = `https://${address}:${port}`;
    this.authority = authority;
    this.kubeconfig = authority.issueKubeconfig(this.server, {
      name: 'admin',
      commonName: 'admin',
      organization: 'system:masters',
    });
    this.#kubectl = programs.kubectl;
    this.#detached = options.detached ?? false;

    const ports = { etcd: etcdPort, etcdPeer: peerPort, controllerManager: managerPort, scheduler: schedulerPort };
    const flags = componentFlags({ directory, authority, address, port, network, ports });
    this.#commands = Object.fromEntries(
      components.map((component) => {
        const args = Object.entries(flags[component]).map(([flag, value]) => `--${flag}=${value}`);
        return [component, { command: programs[component], args: [...args, ...(options.flags?.[component] ?? [])] }];
      }),
    ) as Record<Component, { command: string; args: string[] }>;
    const answers = (url: string) => () => this.#run('curl', '-fsSk', '--max-time', '5', url);
    this.#probes = {
      etcd: answers(`http://127.0.0.1:${etcdPort}/health`),
      'kube-apiserver': () => this.kubectl('get', '--raw=/readyz'),
      'kube-controller-manager': answers(`https://127.0.0.1:${managerPort}/healthz`),
      'kube-scheduler': answers(`https://127.0.0.1:${schedulerPort}/healthz`),
    };
  }

  /** PEM file of the authority that signed the API server's certificate. */
  get certificateAuthority(): string {
    return this.authority.certificate;
  }

  /** A client with all rights that makes up to `connections` requests at once. Close it after use. */
  client(connections?: number): ApiClient {
    const admin = {
      certificate: join(this.directory, 'pki', 'admin.crt'),
      key: join(this.directory, 'pki', 'admin.key'),
    };
    return new ApiClient(this.server, this.certificateAuthority, admin, connections);
  }

  /** Runs kubectl as cluster-admin. @returns its standard output. @throws Error with its standard error. */
  kubectl(...args: string[]): Promise<string> {
    return this.#run(this.#kubectl, ...args);
  }

  /** Server-side apply (field manager `plumbline-test`) of objects in the given order. @throws Error with the refusal. */
  async apply(...objects: readonly KubernetesObject[]): Promise<void> {
    const file = join(mkdtempSync(join(this.directory, 'apply-')), 'objects.json');
    writeFileSync(file, JSON.stringify({ apiVersion: 'v1', kind: 'List', items: objects }));
    await this.kubectl('apply', '--server-side', '--force-conflicts', '--field-manager=plumbline-test', '-f', file);
  }

  /** One object, parsed. @throws Error when it does not exist. */
  async get<T = KubernetesObject>(resource: string, name: string, namespace?: string): Promise<T> {
    return JSON.parse(
      await this.kubectl('get', resource, name, '-o', 'json', ...(namespace ? ['-n', namespace] : [])),
    ) as T;
  }

  /** Every write so far, in order. */
  auditEvents(): AuditEvent[] {
    const path = join(this.directory, 'audit.log');
    if (!existsSync(path)) return [];
    const lines = readFileSync(path, 'utf8').split('\n');
    lines.pop(); // empty, or a line that is being written
    return lines.map((line) => JSON.parse(line) as AuditEvent);
  }

  /** The running process of a component. @throws Error when it was not started. */
  daemon(component: Component): Daemon {
    const daemon = this.#daemons.get(component);
    if (!daemon) throw new Error(`${component} is not part of this control plane`);
    return daemon;
  }

  /** Ends a component at once (SIGKILL by default) and leaves it down. */
  async kill(component: Component, signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    await this.daemon(component).stop(signal);
  }

  /** Starts a component (ending it first if it runs) on its port and data, and waits until it is healthy. */
  async restart(component: Component): Promise<void> {
    await this.#daemons.get(component)?.stop();
    const { directory } = this;
    const daemon = Daemon.start({ name: component, directory, detached: this.#detached, ...this.#commands[component] });
    this.#daemons.set(component, daemon);
    await daemon.waitUntilReady(this.#probes[component]);
  }

  /** Ends every process and removes the address and the folder. Safe to call twice. */
  async stop(): Promise<void> {
    await stopControlPlane(this.directory);
  }

  #run(file: string, ...args: string[]): Promise<string> {
    const env = { ...process.env, KUBECONFIG: this.kubeconfig };
    return new Promise((resolve, reject) => {
      execFile(file, args, { env, maxBuffer: 2 ** 28 }, (error, stdout, stderr) => {
        if (error) reject(new Error(`${file} ${args.join(' ')}: ${stderr.trim() || error.message}`));
        else resolve(stdout);
      });
    });
  }
}

/** Ends what a control plane (of this or an earlier program) runs from `directory`; removes its address and the folder. */
export async function stopControlPlane(directory: string): Promise<void> {
  for (const component of COMPONENTS.toReversed()) await Daemon.find(directory, component)?.stop('SIGKILL');
  const claim = join(directory, ADDRESS_FILE);
  if (existsSync(claim)) {
    execFileSync('ip', ['address', 'delete', readFileSync(claim, 'utf8'), 'dev', 'lo'], { stdio: 'pipe' });
  }
  rmSync(directory, { recursive: true, force: true });
}

/** Names, in a control plane's folder, the address that it added to `lo`. */
const ADDRESS_FILE = 'service-address';

/** Adds the first free 10.x.0.1 to `lo` and answers with x. The kernel refuses an address twice: safe against others. */
function claimServiceNetwork(directory: string): number {
  for (const network of SERVICE_NETWORKS) {
    const address = `10.${network}.0.1/32`;
    try {
      execFileSync('ip', ['address', 'add', address, 'dev', 'lo'], { stdio: 'pipe' });
    } catch (error) {
      if (String((error as { stderr?: Buffer }).stderr).includes('File exists')) continue;
      throw error;
    }
    writeFileSync(join(directory, ADDRESS_FILE), address);
    return network;
  }
  throw new Error('every service network 10.96–10.111 is in use on this machine (`ip address show dev lo`)');
}
