// SPDX-License-Identifier: Apache-2.0
/**
 * The contract between the command line (`cli/record.ts`), which asks for one recording, and `recording.ts`, which
 * makes it. Durations are milliseconds, frequencies hertz, addresses runtime addresses of the recorded process.
 */
import { limits } from '@plumbline/bpf';
import type { Profile } from './profile/profile.ts';
import type { Verdict } from './recovery/verification.ts';

/** What may be asked for; `auto` takes the best strategy that the kernel offers, found by probing. */
export const STRATEGY_CHOICES = ['auto', 'tailCall', 'loop', 'deferred'] as const;
export type StrategyChoice = (typeof STRATEGY_CHOICES)[number];
/** What a recording was made with. */
export type Strategy = Exclude<StrategyChoice, 'auto'>;

/**
 * What makes a sample fire: the CPU clock of each CPU, its hardware cycle counter (where there is one), or a switch away
 * from a task (off-CPU).
 */
export const RECORD_EVENTS = ['cpu-clock', 'cycles', 'context-switches'] as const;
export type RecordEvent = (typeof RECORD_EVENTS)[number];

/** Limits that the command line and the recording agree on. */
export const MAX_FREQUENCY_HZ = 10_000;
export const MAX_USER_FRAMES = limits.MAX_USER_FRAMES;
/** Stack that is copied of one sample, to finish its walk or to make it again: bytes. */
export const MAX_SPILLED_STACK = limits.MAX_SPILLS * limits.MAX_SPILL;

export type RecordTarget =
  /** One process, and perhaps others, with all their threads and the processes they start from now on. */
  | { readonly kind: 'pid'; readonly pid: number; readonly others?: readonly number[] }
  /** Every process of the machine. */
  | { readonly kind: 'all' }
  /**
   * A program to start, and all processes that it starts. It does not run before the profiler knows it.
   * `argv[0]` is a path or a name on PATH; `stdout` says where the program's standard output goes, because the profile
   * itself may be on ours.
   */
  | { readonly kind: 'command'; readonly argv: readonly string[]; readonly stdout: 'inherit' | 'stderr' };

export interface RecordOptions {
  readonly target: RecordTarget;
  /** Infinity: until the process or command ends, or `abort`. */
  readonly durationMs: number;
  readonly frequency: number;
  readonly event: RecordEvent;
  readonly strategy: StrategyChoice;
  readonly maxFrames: number;
  /** Strategy tailCall: frames that one program walks; default: as many as the kernel takes. */
  readonly framesPerProgram?: number;
  /** Share of the walks that are walked again as a check, from 0 to 1; default: none. */
  readonly verifyRatio?: number;
  /** Keep what `RecordResult.rawStacks` needs; costs memory, so only for `--format raw`. */
  readonly keepRawStacks: boolean;
  /** Ends the recording early. What was sampled so far is still returned. */
  readonly abort: AbortSignal;
}

/** How many samples fired, and what became of them: the values of `byReason` add up to `fired`. */
export interface OutcomeCounters {
  readonly fired: number;
  /** By the names of packages/bpf/bpf/reasons.h; reasons that did not occur may be absent. */
  readonly byReason: Readonly<Record<string, number>>;
}

export interface RecordProgress {
  /** `preparing`: tables are built, programs loaded; `finishing`: last samples are read and symbolized. */
  readonly phase: 'preparing' | 'recording' | 'finishing';
  /** Since sampling began; 0 while preparing. */
  readonly elapsedMs: number;
  readonly counters: OutcomeCounters;
  /** Of the phase `preparing` and `finishing`, if it is known: parts done and parts in all (files, frames). */
  readonly done?: number;
  readonly total?: number;
}

export interface RawFrame {
  readonly address: bigint;
  /** The interrupted instruction itself; else a return address, one past the call. */
  readonly exact: boolean;
  /** Found by a frame pointer, not by unwind information. */
  readonly byPointer: boolean;
  /** The mapped file and the offset in it, where the address lies in one. */
  readonly file?: string;
  readonly fileOffset?: bigint;
  /** Virtual address in the ELF file. */
  readonly fileAddress?: bigint;
  readonly buildId?: string;
  /** The function, where it is known. */
  readonly name?: string;
}

export interface RawKernelFrame {
  readonly address: bigint;
  readonly name?: string;
}

/** A complete stack of the kernel side that the agent walked otherwise. */
export interface MismatchReport {
  readonly pid: number;
  readonly comm: string;
  /** Index of the first frame that differs. */
  readonly at: number;
  /** Leaf first. */
  readonly kernel: readonly RawFrame[];
  readonly agent: readonly RawFrame[];
  /** How the agent's walk ended. */
  readonly agentEnd: string;
}

/** One distinct stack as the kernel delivered it. */
export interface RawStack {
  readonly pid: number;
  readonly tid: number;
  readonly comm: string;
  /** How many samples had this stack and this reason. */
  readonly count: number;
  readonly outcome: string;
  readonly reason: string;
  readonly strategy: Strategy;
  readonly steps: number;
  /** Frames that were verified against the last walk, and not walked. */
  readonly spliced?: number;
  readonly tailCalls: number;
  /** Truncated stacks: the address at which the walk stopped. */
  readonly failingPc?: bigint;
  /** Leaf first. */
  readonly kernel: readonly RawKernelFrame[];
  /** Leaf first. */
  readonly user: readonly RawFrame[];
  /** `count` frames were left out before `user[at]`. */
  readonly elided?: { readonly at: number; readonly count: number };
}

/** What became of walks that were walked again as a check, and of spilled stacks. */
export interface RecoveryResult {
  readonly spills: {
    readonly sent: number;
    readonly limited: number;
    readonly refused: number;
    readonly unread: number;
  };
  readonly recovered: number;
  /** Why others were not, by reason. */
  readonly failures: Readonly<Record<string, number>>;
  readonly verdicts: Readonly<Record<Verdict, number>>;
  readonly mismatches: readonly MismatchReport[];
}

export interface RecordResult {
  readonly profile: Profile;
  readonly counters: OutcomeCounters;
  readonly strategy: Strategy;
  /** The most user frames that one sample had. */
  readonly deepest: number;
  /** How long samples were taken. */
  readonly elapsedMs: number;
  readonly recovery: RecoveryResult;
  /** Empty unless `RecordOptions.keepRawStacks`. */
  rawStacks(): Iterable<RawStack>;
  /** Targets of kind `command`: as a shell reports it (128 + number after a signal); absent if this recording ended the command. */
  readonly exitCode?: number;
  /** Why it ended before its duration, if it did. */
  readonly endedEarly?: 'aborted' | 'process_ended';
}

/** The shape of `record` in `recording.ts`. */
export type RecordFunction = (
  options: RecordOptions,
  onProgress: (progress: RecordProgress) => void,
) => Promise<RecordResult>;
