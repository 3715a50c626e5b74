// SPDX-License-Identifier: Apache-2.0
/** Walks a stack of known shape by a strategy, before that is trusted with others: loaded is not proven. */
import { realpathSync } from 'node:fs';
import { type EventBatch, KnownStack, limits } from '@plumbline/bpf';
import { BackgroundWork } from './background-work.ts';
import { systemClock } from './clock.ts';
import { silentLogger } from './log.ts';
import { Executables } from './processes/executables.ts';
import { kernelMappings } from './processes/kernel-mappings.ts';
import { readMaps } from './processes/proc-fs.ts';
import type { Strategy } from './recording-options.ts';
import { decodeRecord, outcomeNames, reasonNames, type SampleHead, type Stack } from './samples/decode.ts';
import { Session } from './session/session.ts';

export interface SelfTestResult {
  /** undecided: nothing could be walked in time, for the machine is too busy. */
  readonly verdict: 'passed' | 'failed' | 'undecided';
  /** What was seen, as a part of a sentence. */
  readonly detail: string;
  /** Strategy tailCall: frames that one program walks. */
  readonly framesPerProgram?: number;
}

/** Deeper than what strategy deferred does in the interrupt, within the reach of every form of tailCall. */
const DEPTH = 240;
const WANTED_SAMPLES = 3;
const FREQUENCY_HZ = 997;
const RING_BYTES = 1 << 20;
/** How long tables may take, and samples after that: ms. A busy machine gives a thread its turns late. */
const TABLES_MS = 30_000;
const SAMPLES_MS = 3_000;
const POLICY = 1;
/** Where threads begin. */
const C_LIBRARY = /\/(libc\.so|libc-2|libpthread|ld-musl|libc\.musl)/;

/** Loads a strategy and walks with it. @throws BpfError where it does not load */
export async function selfTest(strategy: Strategy): Promise<SelfTestResult> {
  let stack: KnownStack | undefined;
  let samples = 0;
  let problem: string | undefined;
  const take = (head: SampleHead, body: Stack | undefined) => {
    if (head.tid !== stack?.tid || head.part === 'kernel') return;
    samples++;
    problem ??= body && whatIsWrong(body, stack.depth);
  };
  const session = Session.open({
    strategy,
    ringBytes: RING_BYTES,
    defaultPolicy: 0,
    checkpoints: false,
    onBatch: (batch) => handleSamples(batch, take),
  });
  const background = new BackgroundWork();
  const executables = new Executables({
    store: session.tables,
    build: (request) => background.buildTable(request),
    onSettled: () => {},
    log: silentLogger,
  });
  const { framesPerProgram } = session;
  try {
    stack = new KnownStack(DEPTH);
    const own = realpathSync(stack.path);
    const mappings = (readMaps(process.pid) ?? [])
      .filter(({ path }) => path === own || C_LIBRARY.test(path))
      .map((mapping) => ({ ...mapping, executable: executables.find(process.pid, mapping) }));
    await until(() => executables.pending === 0, TABLES_MS);
    if (executables.pending > 0)
      return { verdict: 'undecided', detail: 'its unwind tables took too long', framesPerProgram };
    session.tables.setPolicy(POLICY, { maxFrames: limits.MAX_USER_FRAMES, kernelStacks: false, keep: 1, spill: false });
    session.tables.setProcess(process.pid, 0, POLICY, kernelMappings(mappings));
    session.start({ event: 'cpu-clock', frequency: FREQUENCY_HZ });
    await until(() => samples >= WANTED_SAMPLES || problem !== undefined, SAMPLES_MS);
    session.stop();
    await session.flush();
    if (samples === 0)
      return { verdict: 'undecided', detail: 'no sample was taken, the machine is too busy', framesPerProgram };
    if (strategy === 'deferred' && session.deferred().walks === 0) problem ??= 'no walk was left to the task';
    return problem === undefined
      ? { verdict: 'passed', detail: `a stack of ${DEPTH} frames was walked to its root`, framesPerProgram }
      : { verdict: 'failed', detail: problem, framesPerProgram };
  } finally {
    stack?.close();
    executables.close();
    await background.close();
    await session.close();
  }
}

function handleSamples(batch: EventBatch, take: (head: SampleHead, body: Stack | undefined) => void): void {
  if (batch.kind === 'sideBand') return;
  for (let i = 0; i < batch.count; i++) {
    const from = batch.offsets[i];
    const record = decodeRecord(batch.view, from, batch.offsets[i + 1] - from);
    if (record?.kind === 'sample') take(record.head, record.stack);
  }
}

/** How a walk of the known stack differs from what it has to be. */
function whatIsWrong({ reason, user }: Stack, depth: number): string | undefined {
  if (outcomeNames[reason] !== 'complete')
    return `a stack of ${depth} frames was cut after ${user.length}: ${reasonNames[reason]}`;
  // The leaf may have a frame of its own, and its caller's return address is another than that of the recursion.
  const recursion = user.slice(2, depth);
  const isRight = user.length > depth && recursion.every((address) => address === recursion[0]);
  return isRight ? undefined : `a stack of ${depth} frames was walked wrongly, ${user.length} frames`;
}

async function until(isDone: () => boolean, timeoutMs: number): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (!isDone() && performance.now() < deadline) await systemClock.sleep(5);
}
