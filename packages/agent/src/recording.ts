// SPDX-License-Identifier: Apache-2.0
/** One recording: from a target to a profile, for so long. */
import { realpathSync } from 'node:fs';
import { systemClock } from './clock.ts';
import { AgentError } from './errors.ts';
import { silentLogger } from './log.ts';
import { readProcessIdentity } from './metadata/process-identity.ts';
import { type FoundMismatch, reportMismatches } from './mismatch-report.ts';
import type { Executable } from './processes/executable.ts';
import { listDescendants } from './processes/proc-fs.ts';
import type { ProcessImage } from './processes/process-image.ts';
import type { ProcessTable } from './processes/table.ts';
import { ATTRIBUTE } from './profile/attribute-names.ts';
import { Profile } from './profile/profile.ts';
import { Profiler } from './profiler.ts';
import { rawStacks } from './raw-stack.ts';
import type {
  OutcomeCounters,
  RawStack,
  RecordOptions,
  RecordProgress,
  RecordResult,
  Strategy,
} from './recording-options.ts';
import type { StackCount } from './samples/aggregate.ts';
import { findCommand, StoppedCommand } from './stopped-command.ts';
import { chooseStrategy } from './strategy-choice.ts';

/** The one policy of a recording. */
const SELECTED = 1;
/** How long walks in progress may take when sampling has ended, and when they are to be compared: ms. */
const RECOVERY_MS = 15_000;
const VERIFICATION_MS = 60_000;
/** Differing walks that are kept for the report. */
const MAX_MISMATCHES = 50;
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
  const named = target.kind === 'pid' ? [target.pid, ...(target.others ?? [])] : [];
  const selected = new Set<number>();
  const select = () => {
    for (const pid of named) for (const member of [pid, ...listDescendants(pid)]) selected.add(member);
  };
  select();
  const everything = target.kind === 'all';
  const mismatches: FoundMismatch[] = [];
  const profiler = new Profiler({
    strategy: (await chooseStrategy(options.strategy)).name,
    ringBytes: RING_BYTES,
    defaultPolicy: everything ? SELECTED : 0,
    selectPolicy: (tgid, parent) => (everything || selected.has(tgid) || parent?.policy === SELECTED ? SELECTED : 0),
    describe,
    framesPerProgram: options.framesPerProgram,
    onMismatch: (mismatch, image) => {
      if (mismatches.length < MAX_MISMATCHES) mismatches.push({ mismatch, image });
    },
    log: silentLogger,
  });
  const { session, processes, pipeline } = profiler;
  select(); // again: forks have been told of only since then
  let command: StoppedCommand | undefined;
  try {
    session.tables.setPolicy(SELECTED, {
      maxFrames: options.maxFrames,
      kernelStacks: true,
      keep: 1,
      verify: options.verifyRatio,
    });
    let program: Executable | undefined;
    if (target.kind === 'command') {
      command = await StoppedCommand.start(target.argv, target.stdout);
      selected.add(command.pid);
      program = profiler.executables.preload(realpathSync(findCommand(target.argv[0], process.env.PATH)));
    }
    processes.scan(everything ? undefined : [...selected]);
    processes.flush();
    await untilReady(profiler, program, options.abort, onProgress);

    if (target.kind === 'pid' && !named.some(isRunning)) {
      throw new AgentError('process_gone', `process ${target.pid} ended before it could be recorded`, 'start it again');
    }

    const counts: StackCount[] = [];
    const startUnixNano = BigInt(Math.round(systemClock.wallMs() * 1e6));
    const begun = performance.now();
    session.start({ event: options.event, frequency: options.frequency });
    command?.resume();
    const endedEarly = await untilEnd(options, profiler, command, begun, onProgress);
    session.stop();
    const elapsedMs = performance.now() - begun;
    await profiler.endWalks();

    const counters = (): OutcomeCounters => profiler.counters();
    onProgress({ phase: 'finishing', elapsedMs, counters: counters() });
    // A check of every walk is what was asked for, if it was: it may need the tables of many files.
    await profiler.recovery.settle(options.verifyRatio ? VERIFICATION_MS : RECOVERY_MS);
    counts.push(...pipeline.take());
    const profile = new Profile({
      startUnixNano,
      periodNano: options.event === 'context-switches' ? 0 : Math.round(1e9 / options.frequency),
    });
    profile.durationNano = BigInt(Math.round(elapsedMs * 1e6));
    await pipeline.build(counts, profile, { markTruncated: true });
    const raw: RawStack[] = options.keepRawStacks
      ? counts.flatMap((count) =>
          rawStacks(count, processes.image(count.stack.tgid, count.stack.generation), profiler.symbolizer),
        )
      : [];
    const exitCode = endedEarly === 'process_ended' ? await command?.exited : undefined;
    return {
      profile,
      counters: counters(),
      strategy: session.strategy.name as Strategy,
      deepest: pipeline.deepest,
      elapsedMs,
      recovery: {
        spills: session.spills(),
        recovered: profiler.recovery.recovered,
        failures: Object.fromEntries(profiler.recovery.failures),
        verdicts: profiler.recovery.verdicts,
        mismatches: await reportMismatches(mismatches, profiler.symbolizer),
      },
      rawStacks: () => raw,
      ...(exitCode === undefined ? {} : { exitCode }),
      ...(endedEarly ? { endedEarly } : {}),
    };
  } finally {
    await command?.terminate();
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

/** Waits until the tables of all files that the processes to record have mapped are in the kernel. */
async function untilReady(
  profiler: Profiler,
  program: Executable | undefined,
  abort: AbortSignal,
  onProgress: (progress: RecordProgress) => void,
): Promise<void> {
  const deadline = performance.now() + READINESS_MS;
  while (performance.now() < deadline && !abort.aborted) {
    const { done, total } = preparedFiles(profiler.processes, program);
    if (done === total) return;
    onProgress({ phase: 'preparing', elapsedMs: 0, counters: { fired: 0, byReason: {} }, done, total });
    await systemClock.sleep(20, abort);
  }
}

/** Of the files that selected processes have mapped, how many have a table or will never have one. */
function preparedFiles(processes: ProcessTable, program: Executable | undefined): { done: number; total: number } {
  const files = new Set<Executable>(program ? [program] : []);
  for (const image of processes.values()) {
    if (image.policy !== SELECTED) continue;
    for (const { executable } of image.mappings) if (executable) files.add(executable);
  }
  const done = [...files].filter(({ state }) => state !== 'pending').length;
  return { done, total: files.size };
}

async function untilEnd(
  options: RecordOptions,
  profiler: Profiler,
  command: StoppedCommand | undefined,
  begun: number,
  onProgress: (progress: RecordProgress) => void,
): Promise<RecordResult['endedEarly']> {
  const ended = command?.exited.then(() => true as const);
  for (;;) {
    const elapsedMs = performance.now() - begun;
    onProgress({ phase: 'recording', elapsedMs, counters: profiler.counters() });
    const left = options.durationMs - elapsedMs;
    if (options.abort.aborted) return 'aborted';
    if (left <= 0) return undefined;
    const { target } = options;
    if (target.kind === 'pid' && ![target.pid, ...(target.others ?? [])].some(isRunning)) return 'process_ended';
    const nap = systemClock.sleep(Math.min(PROGRESS_MS, left), options.abort);
    if ((await Promise.race([nap, ...(ended ? [ended] : [])])) === true) return 'process_ended';
  }
}

/** A process that has ended stays in /proc until its parent takes note. */
function isRunning(pid: number): boolean {
  const { state } = readProcessIdentity(pid) ?? {};
  return state !== undefined && state !== 'Z' && state !== 'X';
}
