// SPDX-License-Identifier: Apache-2.0
/** One recording: from a target to a profile, for so long. */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { constants } from 'node:os';
import type { Writable } from 'node:stream';
import { systemClock } from './clock.ts';
import { silentLogger } from './log.ts';
import type { ProcessImage } from './processes/process-image.ts';
import { listDescendants } from './processes/proc-fs.ts';
import { ATTRIBUTE } from './profile/attribute-names.ts';
import { Profile } from './profile/profile.ts';
import { Profiler } from './profiler.ts';
import type {
  OutcomeCounters,
  RawStack,
  RecordOptions,
  RecordProgress,
  RecordResult,
  Strategy,
} from './recording-options.ts';
import { rawStacks } from './raw-stack.ts';
import type { StackCount } from './samples/aggregate.ts';

/** The one policy of a recording. */
const SELECTED = 1;
const PROGRESS_MS = 200;
/** How long tables of running programs may take before sampling begins all the same. */
const READINESS_MS = 60_000;
/** 8 MiB hold a second of 4,096-frame stacks that are all different, on two CPUs at 99 Hz. */
const RING_BYTES = 16 << 20;

/** See RecordFunction. Throws BpfError where the kernel refuses, AgentError where the target cannot be recorded. */
export async function record(
  options: RecordOptions,
  onProgress: (progress: RecordProgress) => void,
): Promise<RecordResult> {
  const { target } = options;
  const selected = new Set<number>(target.kind === 'pid' ? [target.pid, ...listDescendants(target.pid)] : []);
  const everything = target.kind === 'all';
  const profiler = new Profiler({
    strategy: options.strategy === 'deferred' ? 'auto' : options.strategy,
    ringBytes: RING_BYTES,
    defaultPolicy: everything ? SELECTED : 0,
    selectPolicy: (tgid, parent) => (everything || selected.has(tgid) || parent?.policy === SELECTED ? SELECTED : 0),
    describe,
    markTruncated: true,
    log: silentLogger,
  });
  const { session, processes, pipeline } = profiler;
  let command: HeldCommand | undefined;
  try {
    session.tables.setPolicy(SELECTED, { maxFrames: options.maxFrames, kernelStacks: true, keep: 1 });
    if (target.kind === 'command') {
      command = holdCommand(target.argv, target.stdout);
      selected.add(command.pid);
    }
    processes.scan(everything ? undefined : [...selected]);
    processes.flush();
    await untilReady(profiler, options.abort, onProgress);

    const counts: StackCount[] = [];
    const startUnixNano = BigInt(Math.round(systemClock.wallMs() * 1e6));
    const begun = performance.now();
    session.start({ event: options.event, frequency: options.frequency });
    command?.release();
    const endedEarly = await untilEnd(options, profiler, command, begun, onProgress);
    session.stop();
    const elapsedMs = performance.now() - begun;
    await session.flush();

    const counters = (): OutcomeCounters => profiler.counters();
    onProgress({ phase: 'finishing', elapsedMs, counters: counters() });
    counts.push(...pipeline.take());
    const profile = new Profile({
      startUnixNano,
      periodNano: options.event === 'context-switches' ? 0 : Math.round(1e9 / options.frequency),
    });
    profile.durationNano = BigInt(Math.round(elapsedMs * 1e6));
    await pipeline.build(counts, profile);
    const raw: RawStack[] = options.keepRawStacks
      ? counts.flatMap((count) =>
          rawStacks(count, processes.image(count.stack.tgid, count.stack.generation), profiler.symbolizer),
        )
      : [];
    const exitCode = command && endedEarly !== 'aborted' ? await command.exit : undefined;
    return {
      profile,
      counters: counters(),
      strategy: session.strategy.name as Strategy,
      deepest: pipeline.deepest,
      elapsedMs,
      rawStacks: () => raw,
      ...(exitCode === undefined ? {} : { exitCode }),
      ...(endedEarly ? { endedEarly } : {}),
    };
  } finally {
    command?.end();
    await profiler.close();
  }
}

function describe(image: ProcessImage): Record<string, string | number | undefined> {
  return {
    [ATTRIBUTE.processPid]: image.tgid,
    [ATTRIBUTE.processExecutableName]: image.path?.slice(image.path.lastIndexOf('/') + 1) ?? image.comm,
    [ATTRIBUTE.processExecutablePath]: image.path,
  };
}

/** Waits until the tables of all programs that run already are in the kernel. */
async function untilReady(
  profiler: Profiler,
  abort: AbortSignal,
  onProgress: (progress: RecordProgress) => void,
): Promise<void> {
  const deadline = performance.now() + READINESS_MS;
  while (profiler.executables.pending > 0 && performance.now() < deadline && !abort.aborted) {
    const total = profiler.executables.size;
    onProgress({
      phase: 'preparing',
      elapsedMs: 0,
      counters: { fired: 0, byReason: {} },
      done: total - profiler.executables.pending,
      total,
    });
    await systemClock.sleep(20, abort);
  }
}

async function untilEnd(
  options: RecordOptions,
  profiler: Profiler,
  command: HeldCommand | undefined,
  begun: number,
  onProgress: (progress: RecordProgress) => void,
): Promise<RecordResult['endedEarly']> {
  const ended = command?.exit.then(() => true as const);
  for (;;) {
    const elapsedMs = performance.now() - begun;
    onProgress({ phase: 'recording', elapsedMs, counters: profiler.counters() });
    const left = options.durationMs - elapsedMs;
    if (options.abort.aborted) return 'aborted';
    if (left <= 0) return undefined;
    if (options.target.kind === 'pid' && !existsSync(`/proc/${options.target.pid}`)) return 'process_ended';
    const nap = systemClock.sleep(Math.min(PROGRESS_MS, left), options.abort);
    if ((await Promise.race([nap, ...(ended ? [ended] : [])])) === true) return 'process_ended';
  }
}

interface HeldCommand {
  readonly pid: number;
  /** Resolves with the exit code as a shell reports it. */
  readonly exit: Promise<number>;
  release(): void;
  /** Ends it, if it still runs. */
  end(): void;
}

/** A command that has its process already but waits for `release` before it runs. */
function holdCommand(argv: readonly string[], stdout: 'inherit' | 'stderr'): HeldCommand {
  // The shell waits for a line and then becomes the command: the same process, known before its first instruction.
  const child: ChildProcess = spawn('/bin/sh', ['-c', 'read -r _ <&3; exec 3<&-; exec "$@"', 'sh', ...argv], {
    stdio: ['inherit', stdout === 'stderr' ? 2 : 'inherit', 'inherit', 'pipe'],
  });
  if (child.pid === undefined) throw new Error('the command could not be started');
  const exit = new Promise<number>((resolve) => {
    child.on('exit', (code, signal) => resolve(code ?? 128 + (signal ? constants.signals[signal] : 0)));
    child.on('error', () => resolve(127));
  });
  const gate = child.stdio[3] as Writable;
  gate.on('error', () => {}); // it ended while it waited
  return {
    pid: child.pid,
    exit,
    release: () => gate.end('\n'),
    end: () => {
      if (child.exitCode === null && child.signalCode === null) child.kill('SIGTERM');
    },
  };
}
