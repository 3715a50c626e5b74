// SPDX-License-Identifier: Apache-2.0
/**
 * A real OpenTelemetry Collector that receives profiles by OTLP and writes them down.
 *
 * ```ts
 * const collector = await Collector.start({ address: node.address });   // default address: 127.0.0.1
 * // export to collector.grpcEndpoint ('host:port') or collector.httpEndpoint ('http://host:port')
 * const samples = collector.profiles().flatMap((profile) => profile.samples);
 * await collector.kill(); await collector.restart();                     // away for a while, same ports
 * await collector.stop();
 * ```
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Daemon } from './daemon.ts';
import { freePorts } from './free-port.ts';
import { PROFILES_FILE, type ResolvedProfile, readProfiles } from './resolved-profile.ts';
import { ensureTool } from './tools.ts';

export type { ResolvedFrame, ResolvedProfile, ResolvedSample } from './resolved-profile.ts';

export interface CollectorOptions {
  /** Where its receivers listen. Default 127.0.0.1. */
  readonly address?: string;
  /** Ports of the OTLP receivers. Default: free ones. */
  readonly ports?: { readonly grpc: number; readonly http: number };
  /** Folder for configuration, log and received profiles. Default: a new one, removed by `stop()`. */
  readonly directory?: string;
  /** Outlive this program (`make cluster`). */
  readonly detached?: boolean;
}

const NAME = 'otelcol';

export class Collector {
  readonly directory: string;
  /** `host:port` of the OTLP/gRPC receiver, without TLS. */
  readonly grpcEndpoint: string;
  /** `http://host:port` of the OTLP/HTTP receiver; profiles go to `/v1development/profiles`. */
  readonly httpEndpoint: string;
  readonly #command: { command: string; args: string[]; detached: boolean };
  #daemon: Daemon | undefined;

  static async start(options: CollectorOptions = {}): Promise<Collector> {
    const { address = '127.0.0.1', detached = false } = options;
    const program = await ensureTool(NAME);
    const [grpc, http] = options.ports ? [options.ports.grpc, options.ports.http] : await freePorts(2, address);
    const directory = options.directory ?? mkdtempSync(join(tmpdir(), 'plumbline-collector-'));
    if (options.directory) mkdirSync(directory, { recursive: true });
    const collector = new Collector(directory, program, `${address}:${grpc}`, `${address}:${http}`, detached);
    try {
      await collector.restart();
    } catch (error) {
      await collector.stop();
      throw error;
    }
    return collector;
  }

  private constructor(directory: string, command: string, grpc: string, http: string, detached: boolean) {
    this.directory = directory;
    this.grpcEndpoint = grpc;
    this.httpEndpoint = `http://${http}`;
    const config = {
      receivers: { otlp: { protocols: { grpc: { endpoint: grpc }, http: { endpoint: http } } } },
      exporters: { file: { path: join(directory, PROFILES_FILE), append: true, flush_interval: '100ms' } },
      service: {
        telemetry: { metrics: { level: 'none' } },
        pipelines: { profiles: { receivers: ['otlp'], exporters: ['file'] } },
      },
    };
    const path = join(directory, 'collector.yaml');
    writeFileSync(path, JSON.stringify(config, null, 2));
    this.#command = { command, args: ['--config', path, '--feature-gates=+service.profilesSupport'], detached };
  }

  /** Every profile received so far, indices into the dictionary resolved. */
  profiles(): ResolvedProfile[] {
    return readProfiles(this.directory);
  }

  /** Ends it at once and leaves it down; what it received stays. */
  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    await this.#daemon?.stop(signal);
  }

  /** Starts it on the same ports. */
  async restart(): Promise<void> {
    await this.#daemon?.stop();
    this.#daemon = Daemon.start({ name: NAME, directory: this.directory, ...this.#command });
    await this.#daemon.waitUntilReady(() => accepts(this.grpcEndpoint));
  }

  async stop(): Promise<void> {
    await stopCollector(this.directory);
  }
}

/** Ends a collector of this or an earlier program and removes its folder. */
export async function stopCollector(directory: string): Promise<void> {
  await Daemon.find(directory, NAME)?.stop();
  rmSync(directory, { recursive: true, force: true });
}

/** Whether something accepts TCP connections there. */
function accepts(endpoint: string): Promise<boolean> {
  const { hostname, port } = new URL(`tcp://${endpoint}`);
  return new Promise((resolve) => {
    const socket = connect(Number(port), hostname);
    socket.on('connect', () => resolve(true)).on('error', () => resolve(false));
    socket.on('connect', () => socket.destroy());
  });
}
