// SPDX-License-Identifier: Apache-2.0
/** The agent as a program of its own, by a configuration file that can be changed while it runs. */
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Daemon } from '../cluster/daemon.ts';
import { freePorts } from '../cluster/free-port.ts';

const PROGRAM = join(import.meta.dirname, '../../bin/plumbline');

export class RunningAgent {
  /** host:port of its HTTP server. */
  readonly address: string;
  readonly #directory: string;
  #daemon: Daemon | undefined;

  private constructor(address: string, directory: string) {
    this.address = address;
    this.#directory = directory;
  }

  /** Resolves when it is ready: it profiles as configured. */
  static async start(spec: object): Promise<RunningAgent> {
    const [port] = await freePorts(1);
    const directory = mkdtempSync(join(tmpdir(), 'plumbline-agent-'));
    const agent = new RunningAgent(`127.0.0.1:${port}`, directory);
    try {
      agent.configure(spec);
      const args = ['agent', '--config', agent.#file, '--listen', agent.address];
      agent.#daemon = Daemon.start({
        name: 'agent',
        command: PROGRAM,
        args: [...args, '--state-directory', join(directory, 'state')],
        directory,
      });
      await agent.#daemon.waitUntilReady(async () => (await fetch(`http://${agent.address}/readyz`)).ok);
    } catch (error) {
      await agent.stop();
      throw error;
    }
    return agent;
  }

  /** Changes its configuration as a person would: it notices by itself. */
  configure(spec: object): void {
    const next = `${this.#file}.new`;
    writeFileSync(next, JSON.stringify(spec));
    renameSync(next, this.#file);
  }

  async get(path: string): Promise<string> {
    const response = await fetch(`http://${this.address}${path}`);
    if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
    return response.text();
  }

  async stop(): Promise<void> {
    await this.#daemon?.stop();
    rmSync(this.#directory, { recursive: true, force: true });
  }

  get #file(): string {
    return join(this.#directory, 'node.json');
  }
}
