// SPDX-License-Identifier: Apache-2.0
/** The programs in the kernel: opened, configured, loaded, attached, and read. */

import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import {
  BpfError,
  type BpfLink,
  BpfMap,
  BpfObject,
  builtFile,
  type EventBatch,
  EventReader,
  limits,
  MAP_FLAGS,
  parseCpuList,
  reasons,
  structs,
} from '@plumbline/bpf';
import type { Spill } from '../samples/spill.ts';
import { memoriesPerCpu } from './memories.ts';
import { openSampler, type Sampler, type SamplerOptions } from './sampler.ts';
import { kernelNames, ladder, type StrategyProgram } from './strategy.ts';
import { Tables } from './tables.ts';
import { readWaitingWalk, type WaitingWalk } from './waiting-walks.ts';

export interface SessionOptions {
  readonly strategy: 'auto' | StrategyProgram['name'];
  /** Bytes of the ring buffer; a power of two. */
  readonly ringBytes?: number;
  /** Strategy tailCall: frames that one program walks; default: as many as the kernel's verifier takes. */
  readonly framesPerProgram?: number;
  /** Whether walks are remembered (checkpoint.bpf.h); default: they are. */
  readonly checkpoints?: boolean;
  /** Policy of processes without an entry; 0: they are left out. */
  readonly defaultPolicy: number;
  readonly onBatch: (batch: EventBatch) => void;
}

/** Counted by the kernel side over all CPUs. */
export interface KernelCounters {
  readonly fired: number;
  readonly steps: number;
  readonly userFrames: number;
  readonly tailCalls: number;
  readonly stacksSent: number;
  readonly eventsLost: number;
  readonly windowReads: number;
  readonly framePointerSteps: number;
  /** Walks that were finished from memory, and the frames that they took from it. */
  readonly splicedWalks: number;
  readonly splicedFrames: number;
  /** Strategy deferred: samples that wait for their tasks, and are not among `fired` yet. */
  readonly samplesWaiting: number;
  /** Samples that were left to their tasks, the walks that served them, and samples whose tasks could not be asked. */
  readonly deferredSamples: number;
  readonly deferredWalks: number;
  readonly deferredRefused: number;
  /** By name; only those that occurred. */
  readonly byReason: Record<string, number>;
}

/** What the kernel side did about walks that the agent can finish, over all CPUs. */
export interface SpillCounters {
  readonly sent: number;
  /** Not sent: the rate of the process was reached; the ring was more than half full; the stack could not be read. */
  readonly limited: number;
  readonly refused: number;
  readonly unread: number;
}

/** Strategy deferred, over all CPUs. */
export interface DeferredCounters {
  /** Samples whose walk was left to the task. */
  readonly samples: number;
  /** Of these, those that still wait for it. */
  readonly waiting: number;
  /** Walks that served the others. */
  readonly walks: number;
  /** Samples that were walked in the interrupt, for the task could not be asked. */
  readonly refused: number;
  /** Time from the begin of these walks to their end; where it was waited for memory or a CPU, that too. */
  readonly ns: number;
}

/** Frames per program that strategy tailCall tries, the largest first: what the verifier takes differs from kernel to kernel. */
const FRAMES_PER_PROGRAM = [128, 64, 32, 16, 8] as const;

const PROCESS_EVENTS: readonly string[] = ['on_fork', 'on_exec', 'on_exit'];

/** Strategy deferred: walks that may be in progress at once, beyond two for each CPU: those that wait for memory. */
const SPARE_WALKS = 16;
const MAX_SHARED_WALKS = 256;

/** How long tasks may take to come back to user space when sampling has ended: ms. */
const WALKS_MS = 200;

export class Session {
  readonly strategy: StrategyProgram;
  readonly tables: Tables;
  /** Strategy tailCall: frames that one program walks. */
  readonly framesPerProgram: number;
  /** Whether walks are remembered. */
  readonly checkpoints: boolean;
  /** Why better strategies are not used, as the kernel said it. */
  readonly refused: readonly { readonly strategy: string; readonly error: BpfError }[];
  readonly #object: BpfObject;
  readonly #links: BpfLink[] = [];
  readonly #reader: EventReader;
  #sampler: Sampler | undefined;
  #epoch = 1;
  #walksClosed = false;

  private constructor(loaded: Loaded, options: SessionOptions) {
    this.#object = loaded.object;
    this.strategy = loaded.strategy;
    this.framesPerProgram = loaded.framesPerProgram;
    this.checkpoints = loaded.checkpoints;
    this.refused = loaded.refused;
    this.tables = new Tables(loaded.object, (number) =>
      BpfMap.create({
        type: 'array',
        keySize: 4,
        valueSize: limits.SHARD_SIZE,
        maxEntries: 1,
        flags: MAP_FLAGS.mmapable,
        name: `shard_${number}`,
      }),
    );
    // First the events of the ring, then the side-band: what it tells before the ring can is only announced.
    for (const name of PROCESS_EVENTS)
      this.#links.push(loaded.object.program(name).attachRawTracepoint(name.replace('on_', 'sched_process_')));
    this.#reader = EventReader.open({
      ring: loaded.object.map('events'),
      sideBand: true,
      onBatch: options.onBatch,
    });
    this.#reader.unref();
  }

  /**
   * Loads the best strategy that the kernel takes, or the one asked for, and begins to read process events. No samples
   * fire yet. Throws BpfError.
   */
  static open(options: SessionOptions): Session {
    const loaded = load(options);
    try {
      return new Session(loaded, options);
    } catch (error) {
      loaded.object.close();
      throw error;
    }
  }

  /** Begins to sample. */
  start(options: SamplerOptions): void {
    this.#sampler?.close();
    this.#sampler = openSampler(this.#object.program(this.strategy.program), options);
  }

  /** Changes the frequency while sampling, without losing samples. */
  setFrequency(hz: number): void {
    this.#sampler?.setFrequency(hz);
  }

  /** Stops sampling; process events go on. */
  stop(): void {
    this.#sampler?.close();
    this.#sampler = undefined;
  }

  /** Waits for the walks that were left to tasks (strategy deferred), when sampling has ended: not for long. */
  async awaitWalks(): Promise<void> {
    if (this.strategy.name !== 'deferred' || this.#walksClosed) return;
    const deadline = performance.now() + WALKS_MS;
    while (this.deferred().waiting > 0 && performance.now() < deadline) await delay(5);
  }

  /** Walks of tasks count no more: those that have not come are lost. What they would have seen is given where it can be read. */
  closeWalks(waiting: readonly (WaitingWalk & { readonly policy: number })[]): Spill[] {
    if (this.strategy.name !== 'deferred' || this.#walksClosed) return [];
    const map = this.#object.map('deferred_walks');
    const spills = waiting.flatMap((walk) => readWaitingWalk(map, walk, this.tables.maxFrames(walk.policy)) ?? []);
    this.#object.setGlobal('walks_closed', 1);
    this.#walksClosed = true;
    return spills;
  }

  /** Everything that the kernel side has written until now is handed over when this resolves. */
  async flush(): Promise<void> {
    await this.#reader.flush();
  }

  /** Changes what happens to processes that have no entry. */
  setDefaultPolicy(number: number): void {
    this.#object.setGlobal('default_policy', number);
  }

  /** From now on every stack is sent again, once. */
  beginEpoch(): void {
    this.#epoch = (this.#epoch + 1) & 0xffff;
    // A mark of 65,536 epochs ago must not count as one of now.
    if (this.#epoch === 0) clear(this.#object.map('seen_stacks'));
    this.#object.setGlobal('stack_epoch', this.#epoch);
  }

  counters(): KernelCounters {
    const { offsets } = structs.counters;
    const sum = this.#sumCounters();
    const byReason: Record<string, number> = {};
    for (const { name, number } of reasons) {
      const count = sum(offsets.by_reason + 8 * number);
      if (count > 0) byReason[name] = count;
    }
    const waiting = sum(offsets.deferred_samples) - sum(offsets.deferred_samples_ended);
    const isLost = this.#walksClosed && waiting > 0;
    if (isLost) byReason.walk_lost = (byReason.walk_lost ?? 0) + waiting;
    return {
      fired: sum(offsets.fired) - (isLost ? 0 : waiting),
      samplesWaiting: isLost ? 0 : waiting,
      deferredSamples: sum(offsets.deferred_samples),
      deferredWalks: sum(offsets.deferred_walks),
      deferredRefused: sum(offsets.deferred_refused),
      steps: sum(offsets.steps),
      userFrames: sum(offsets.user_frames),
      tailCalls: sum(offsets.tail_calls),
      stacksSent: sum(offsets.stacks_sent),
      eventsLost: sum(offsets.events_lost),
      windowReads: sum(offsets.window_reads),
      framePointerSteps: sum(offsets.frame_pointer_steps),
      splicedWalks: sum(offsets.spliced_walks),
      splicedFrames: sum(offsets.spliced_frames),
      byReason,
    };
  }

  deferred(): DeferredCounters {
    const { offsets } = structs.counters;
    const sum = this.#sumCounters();
    const samples = sum(offsets.deferred_samples);
    return {
      samples,
      waiting: samples - sum(offsets.deferred_samples_ended),
      walks: sum(offsets.deferred_walks),
      refused: sum(offsets.deferred_refused),
      ns: sum(offsets.deferred_ns),
    };
  }

  spills(): SpillCounters {
    const { offsets } = structs.counters;
    const sum = this.#sumCounters();
    return {
      sent: sum(offsets.spills_sent),
      limited: sum(offsets.spills_limited),
      refused: sum(offsets.spills_refused),
      unread: sum(offsets.spills_unread),
    };
  }

  /** A function that adds up over all CPUs what is at an offset of `struct counters`, as of now. */
  #sumCounters(): (offset: number) => number {
    const perCpu = this.#object.map('counters').lookupPerCpu(0) ?? [];
    return (offset) =>
      perCpu.reduce((total, bytes) => {
        const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
        return total + view.getUint32(offset, true) + view.getUint32(offset + 4, true) * 2 ** 32;
      }, 0);
  }

  /** Run time of the programs in ns and how often they ran; they count only while run-time statistics are enabled. */
  runTime(): { readonly ns: number; readonly runs: number } {
    let ns = 0;
    let runs = 0;
    for (const [name, info] of this.#object.stats()) {
      if (!this.strategy.programs.includes(name)) continue;
      ns += info.runTimeNs;
      if (name === this.strategy.program) runs = info.runs;
    }
    if (this.strategy.name === 'deferred') ns += this.deferred().ns; // which the kernel does not measure
    return { ns, runs };
  }

  async close(): Promise<void> {
    this.stop();
    for (const link of this.#links) link.close();
    await this.#reader.close();
    this.#object.close();
  }
}

interface Loaded {
  readonly object: BpfObject;
  readonly strategy: StrategyProgram;
  readonly framesPerProgram: number;
  readonly checkpoints: boolean;
  readonly refused: { readonly strategy: string; readonly error: BpfError }[];
}

function load(options: SessionOptions): Loaded {
  const candidates = ladder().filter(({ name }) => options.strategy === 'auto' || options.strategy === name);
  const refused: Loaded['refused'] = [];
  for (const strategy of candidates) {
    const tried = options.framesPerProgram === undefined ? FRAMES_PER_PROGRAM : [options.framesPerProgram];
    const name = strategy.object();
    if (name === undefined) {
      refused.push({
        strategy: strategy.name,
        error: new BpfError({
          operation: `load strategy ${strategy.name}`,
          code: 'UNSUPPORTED',
          detail: strategy.lacks,
        }),
      });
      continue;
    }
    const sizes: readonly number[] = strategy.name === 'tailCall' ? tried : [0];
    // What the verifier takes differs from kernel to kernel: without checkpoints rather than not at all.
    const forms = sizes.flatMap((framesPerProgram) =>
      (options.checkpoints === false || strategy.name === 'deferred' ? [false] : [true, false]).map((checkpoints) => ({
        framesPerProgram,
        checkpoints,
      })),
    );
    for (const form of forms) {
      try {
        return { object: loadObject(name, strategy, form, options), strategy, ...form, refused };
      } catch (error) {
        // Only the verifier's refusal (also of a helper that the kernel lacks) says something about the strategy.
        if (!(error instanceof BpfError) || error.verifierLog === '') throw error;
        if (form === forms.at(-1)) refused.push({ strategy: strategy.name, error });
      }
    }
  }
  throw refused.at(-1)?.error ?? new Error('no strategy to try');
}

function loadObject(
  name: string,
  strategy: StrategyProgram,
  { framesPerProgram, checkpoints }: Pick<Loaded, 'framesPerProgram' | 'checkpoints'>,
  options: SessionOptions,
): BpfObject {
  const object = BpfObject.open(builtFile(`${name}.bpf.o`));
  try {
    for (const program of object.programNames)
      if (!PROCESS_EVENTS.includes(program)) object.setAutoload(program, strategy.programs.includes(program));
    object.setMaxEntries('events', options.ringBytes ?? 8 << 20);
    const cpus = Math.max(...parseCpuList(readFileSync('/sys/devices/system/cpu/possible', 'utf8'))) + 1;
    const sharedWalks = strategy.name === 'deferred' ? Math.min(MAX_SHARED_WALKS, SPARE_WALKS + 2 * cpus) : 0;
    object.setMaxEntries('walks', cpus + sharedWalks);
    if (sharedWalks > 0) object.setRodata({ first_shared_walk: cpus, shared_walks: sharedWalks });
    const memories = checkpoints ? memoriesPerCpu(cpus) : 0;
    object.setMaxEntries('memories', Math.max(1, cpus * memories));
    object.setMaxEntries('trails', checkpoints ? cpus : 1);
    object.setRodata({
      memories_per_cpu: memories,
      // bpf_task_pt_regs (5.15), among the functions that the kernel's BTF lists: enum bpf_func_id.
      has_task_pt_regs: kernelNames('BPF_FUNC_task_pt_regs'),
      ...(framesPerProgram > 0 ? { frames_per_program: framesPerProgram } : {}),
    });
    object.load();
    if (strategy.name === 'tailCall') object.map('tail_calls').update(0, object.program('walk_tail_call'));
    object.setGlobal('default_policy', options.defaultPolicy);
    return object;
  } catch (error) {
    object.close();
    throw error;
  }
}

/** Writes zeros into an array map. */
function clear(map: BpfMap): void {
  const { maxEntries, valueSize } = map.info;
  const keys = Uint32Array.from({ length: maxEntries }, (_, index) => index);
  map.updateBatch(keys, new Uint8Array(maxEntries * valueSize), maxEntries);
}
