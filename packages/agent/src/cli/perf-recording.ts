// SPDX-License-Identifier: Apache-2.0
/** perf(1) beside a recording of ours: stacks by DWARF call graphs, of the same processes. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findCommand } from '../stopped-command.ts';
import { type SiteStack, siteName } from './perf-comparison.ts';

/** Bytes of stack that perf copies for each sample: enough for the innermost frames, and small enough to keep up. */
const STACK_BYTES = 32_768;
const SCRIPT_TIMEOUT_MS = 120_000;
const STOP_TIMEOUT_MS = 10_000;
const MAX_ERROR = 300;

/** The path of perf; undefined where it is not installed. */
export function findPerf(searchPath: string | undefined): string | undefined {
  try {
    return findCommand('perf', searchPath);
  } catch {
    return undefined;
  }
}

export class PerfRecording {
  readonly #perf: string;
  readonly #directory: string;
  readonly #child: ChildProcess;
  readonly #ended: Promise<void>;
  #error = '';

  /** @param pids processes to be sampled, with all their threads and the processes they start */
  constructor(perf: string, pids: readonly number[], frequency: number) {
    this.#perf = perf;
    this.#directory = mkdtempSync(join(tmpdir(), 'plumbline-perf-'));
    const args = ['record', '--quiet', '--event', 'cpu-clock', '--freq', String(frequency)];
    args.push('--call-graph', `dwarf,${STACK_BYTES}`, '--pid', pids.join(','), '--output', this.#file);
    this.#child = spawn(perf, args, { stdio: ['ignore', 'ignore', 'pipe'] });
    this.#child.stderr?.on('data', (chunk) => {
      this.#error = `${this.#error}${chunk}`.slice(-MAX_ERROR);
    });
    this.#ended = new Promise((resolve) => {
      this.#child.once('error', (error) => {
        this.#error = error.message;
        resolve();
      });
      this.#child.once('close', () => resolve());
    });
  }

  get #file(): string {
    return join(this.#directory, 'perf.data');
  }

  /** Ends the sampling. */
  async stop(): Promise<void> {
    this.#child.kill('SIGINT');
    const late = setTimeout(() => this.#child.kill('SIGKILL'), STOP_TIMEOUT_MS);
    await this.#ended;
    clearTimeout(late);
  }

  /** What was sampled, after {@link stop}. Throws an Error with perf's own words. */
  async stacks(): Promise<SiteStack[]> {
    const args = ['script', '--input', this.#file, '--fields', 'pid,ip,sym,dso', '--no-inline', '--max-stack', '4096'];
    const child = spawn(this.#perf, args, { stdio: ['ignore', 'pipe', 'pipe'], timeout: SCRIPT_TIMEOUT_MS });
    let [text, error] = ['', ''];
    child.stdout.setEncoding('utf8').on('data', (chunk) => {
      text += chunk;
    });
    child.stderr.setEncoding('utf8').on('data', (chunk) => {
      error = `${error}${chunk}`.slice(-MAX_ERROR);
    });
    const code = await new Promise((resolve) => child.once('close', resolve).once('error', resolve));
    if (code !== 0)
      throw new Error((error || this.#error || `perf script ended with ${code}`).trim().split('\n').at(-1));
    return parsePerfScript(text);
  }

  /** Ends what still runs and removes the file. */
  async close(): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) this.#child.kill('SIGKILL');
    await this.#ended;
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

/** Offsets in files are below this; what is not is an address, which older perfs print. */
const MAX_OFFSET = 1n << 40n;

/** Samples of `perf script --fields pid,ip,sym,dso`, frames of user space only; samples without any are left out. */
export function parsePerfScript(text: string): SiteStack[] {
  const stacks: string[][] = [];
  let stack: string[] | undefined;
  for (const line of text.split('\n')) {
    if (line === '' || !/^\s/.test(line)) {
      stack = undefined;
      continue;
    }
    const [, hex, file] = /^\s+([0-9a-f]+) .*\((.+)\)$/.exec(line) ?? [];
    if (hex === undefined) {
      stack = undefined; // the line of a sample: its process
      continue;
    }
    const address = BigInt(`0x${hex}`);
    if (file.startsWith('[kernel') || file.startsWith('[guest') || /\.ko(\.|$)/.test(file) || address >= 1n << 63n)
      continue;
    if (file.startsWith('/') && address >= MAX_OFFSET)
      throw new Error('this perf prints addresses, not offsets in files; 5.9 or newer is needed');
    if (!stack) {
      stack = [];
      stacks.push(stack);
    }
    stack.push(siteName(file, address));
  }
  return stacks;
}
