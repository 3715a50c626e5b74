// SPDX-License-Identifier: Apache-2.0
/** Runs `bin/plumbline record --format raw` as a user would, and reads what it wrote. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createReadStream, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';

/** Another build may be tested than that of this checkout. */
const PLUMBLINE = process.env.PLUMBLINE_UNDER_TEST ?? resolve(import.meta.dirname, '../../bin/plumbline');

export type Strategy = 'tailCall' | 'loop' | 'deferred';

export interface RecordedFrame {
  readonly address: bigint;
  /** Interrupted at this address; otherwise a return address. */
  readonly exact: boolean;
  readonly byPointer: boolean;
  readonly name?: string;
  readonly file?: string;
  /** Of the interrupted instruction or of the last byte of the call: in the file, and by the file's headers. */
  readonly fileOffset?: bigint;
  readonly fileAddress?: bigint;
}

/** A distinct stack of one thread and how often it was seen. */
export interface RecordedStack {
  readonly pid: number;
  readonly tid: number;
  readonly comm: string;
  readonly count: number;
  readonly outcome: string;
  readonly reason: string;
  readonly strategy: string;
  /** Frames that were taken from the last walk. */
  readonly spliced?: number;
  readonly failingPc?: bigint;
  /** Leaf first. */
  readonly user: readonly RecordedFrame[];
  /** `count` frames were left out before `user[at]`. */
  readonly elided?: { readonly at: number; readonly count: number };
}

export interface RecordedSummary {
  readonly fired: number;
  readonly outcomes: Readonly<Record<string, number>>;
  readonly reasons: readonly { outcome: string; reason: string; count: number }[];
  readonly deepest: number;
  readonly strategy: string;
}

export interface Recording {
  readonly summary: RecordedSummary;
  readonly stacks: readonly RecordedStack[];
}

export interface RecordingOptions {
  readonly pid?: number | readonly number[];
  /** Default: every process of the machine. */
  readonly strategy: Strategy;
  readonly seconds: number;
  readonly frequency?: number;
  readonly event?: 'cpu-clock' | 'context-switches';
  readonly maxFrames?: number;
  /** Called when sampling has begun; the recording ends early when what it returns is done, if that is asked for. */
  readonly whileRecording?: () => Promise<void>;
  /** Called when sampling has ended, before the profiler makes a profile of it. */
  readonly afterRecording?: () => void;
  readonly endsWithCallback?: boolean;
  /** Which stacks to keep; the others are read and forgotten. */
  readonly keep?: (stack: Pick<RecordedStack, 'pid' | 'tid' | 'comm'>) => boolean;
}

interface RawFrame extends Omit<RecordedFrame, 'address' | 'fileOffset' | 'fileAddress'> {
  readonly address: string;
  readonly fileOffset?: string;
  readonly fileAddress?: string;
}

const optional = (hex: string | undefined) => (hex === undefined ? undefined : BigInt(hex));

/** Parses one line of `--format raw`. @throws SyntaxError when it is not JSON */
export function parseRawLine(line: string): RecordedStack {
  const { pid, tid, comm, count, outcome, reason, strategy, failingPc, user, elided, spliced } = JSON.parse(line);
  const frames = (user as RawFrame[]).map(({ address, exact, byPointer, name, file, fileOffset, fileAddress }) => {
    const place = { file, fileOffset: optional(fileOffset), fileAddress: optional(fileAddress) };
    return { address: BigInt(address), exact, byPointer, name, ...place };
  });
  return {
    pid,
    tid,
    comm,
    count,
    outcome,
    reason,
    strategy,
    failingPc: optional(failingPc),
    user: frames,
    elided,
    spliced,
  };
}

/** fired = complete + recovered + truncated + dropped + filtered + kernel_only, and the same by reason. */
export function assertIdentity({ fired, outcomes, reasons }: RecordedSummary): void {
  const known = ['complete', 'recovered', 'truncated', 'dropped', 'filtered', 'kernel_only'];
  for (const outcome of Object.keys(outcomes)) assert.ok(known.includes(outcome), `unknown outcome ${outcome}`);
  const sum = (counts: Iterable<number>) => [...counts].reduce((total, count) => total + count, 0);
  assert.equal(sum(Object.values(outcomes)), fired, 'outcomes add up to what fired');
  assert.equal(sum(reasons.map(({ count }) => count)), fired, 'reasons add up to what fired');
}

/** Records, and checks what holds of every recording: the strategy asked for, the identity of outcomes. */
export async function recordRaw(options: RecordingOptions): Promise<Recording> {
  const directory = mkdtempSync(join(tmpdir(), 'plumbline-recording-'));
  const output = join(directory, 'stacks.jsonl');
  const { pid, strategy, seconds, frequency = 99, event = 'cpu-clock', maxFrames = 4096 } = options;
  const target = pid === undefined ? ['--all'] : ['--pid', `${pid}`];
  const args = ['record', ...target, '--duration', `${seconds}s`, '--frequency', `${frequency}`, '--event', event];
  args.push('--strategy', strategy, '--max-frames', `${maxFrames}`, '--format', 'raw', '--output', output, '--json');
  const child = spawn(PLUMBLINE, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let stdout = '';
  let stderr = '';
  let callback: Promise<void> | undefined;
  let isSampled = false;
  child.stdout.on('data', (text) => {
    stdout += text;
  });
  child.stderr.on('data', (text) => {
    stderr += text;
    if (callback === undefined && /\brecording\b/.test(stderr)) {
      callback = options.whileRecording?.() ?? Promise.resolve();
      if (options.endsWithCallback) callback.finally(() => child.kill('SIGINT')).catch(() => {});
      else callback.catch(() => {}); // awaited below
    }
    if (!isSampled && /\bsymbolizing\b/.test(stderr)) {
      isSampled = true;
      options.afterRecording?.();
    }
  });
  try {
    const [code] = (await once(child, 'close')) as [number | null];
    await callback;
    if (code !== 0) throw new Error(`plumbline ${args.join(' ')} ended with code ${code}: ${stderr.trim()}`);
    const summary = JSON.parse(stdout) as RecordedSummary;
    assert.equal(summary.strategy, strategy);
    assertIdentity(summary);
    const stacks: RecordedStack[] = [];
    for await (const line of createInterface({ input: createReadStream(output) })) {
      const head = /^\{"pid":(\d+),"tid":(\d+),"comm":"((?:[^"\\]|\\.)*)"/.exec(line);
      const isKept =
        !head || !options.keep || options.keep({ pid: Number(head[1]), tid: Number(head[2]), comm: head[3] });
      if (isKept) stacks.push(parseRawLine(line));
    }
    return { summary, stacks };
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
