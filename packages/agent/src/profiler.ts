// SPDX-License-Identifier: Apache-2.0
/** Builds the parts of a running profiler in the order in which data flows, and takes them down again. No logic. */
import { releaseMemory } from '@plumbline/bpf';
import { BackgroundWork } from './background-work.ts';
import { systemClock } from './clock.ts';
import type { Logger } from './log.ts';
import { Pipeline } from './pipeline.ts';
import { raisePriority } from './priority.ts';
import { Executables } from './processes/executables.ts';
import type { ProcessImage } from './processes/process-image.ts';
import { ProcessTable } from './processes/table.ts';
import type { Attributes } from './profile/attribute-table.ts';
import type { StrategyChoice } from './recording-options.ts';
import { Recovery } from './recovery/recovery.ts';
import type { Mismatch } from './recovery/verification.ts';
import { type KernelCounters, Session } from './session/session.ts';
import { createSymbolizer } from './symbols/frame-symbolizer.ts';

export interface ProfilerOptions {
  readonly strategy: StrategyChoice;
  readonly ringBytes?: number;
  /** See SessionOptions. */
  readonly framesPerProgram?: number;
  readonly checkpoints?: boolean;
  /** Policy of processes that are not known yet; see ProcessTableOptions.selectPolicy. */
  readonly defaultPolicy: number;
  readonly selectPolicy: (tgid: number, parent: ProcessImage | undefined) => number;
  readonly describe: (image: ProcessImage) => Attributes;
  /** The unwind table of a file was built, or could not be, in so many ms. */
  readonly onTableBuilt?: (buildMs: number) => void;
  /** A process that has begun since can be walked in the kernel, so many seconds after its fork or exec. */
  readonly onProcessReady?: (seconds: number) => void;
  readonly onMismatch?: (mismatch: Mismatch, image: ProcessImage) => void;
  readonly log: Logger;
}

/** How long a file may be unused before its table leaves the kernel: ms. */
const UNUSED_MS = 10 * 60_000;
const HOUSEKEEPING_MS = 5_000;
const EPOCH_MS = 60_000;

export class Profiler {
  readonly session: Session;
  readonly processes: ProcessTable;
  readonly executables: Executables;
  readonly recovery: Recovery;
  readonly pipeline: Pipeline;
  /** What parsing files has left behind is given back once there are no more. */
  readonly #background = new BackgroundWork({ onIdle: releaseMemory });
  readonly symbolizer = createSymbolizer({ readLarge: (request) => this.#background.readSymbols(request) });
  readonly #timers: NodeJS.Timeout[] = [];
  readonly #lowerPriority = raisePriority();
  #sideBandLost = 0;

  /** Loads the programs and follows process events from here on. Throws BpfError. */
  constructor(options: ProfilerOptions) {
    this.session = Session.open({
      strategy: options.strategy,
      ringBytes: options.ringBytes,
      framesPerProgram: options.framesPerProgram,
      checkpoints: options.checkpoints,
      defaultPolicy: options.defaultPolicy,
      onBatch: (batch) => this.pipeline.handleBatch(batch),
    });
    this.executables = new Executables({
      store: this.session.tables,
      build: async (request) => {
        const reply = await this.#background.buildTable(request);
        options.onTableBuilt?.(reply.buildMs);
        return reply;
      },
      onSettled: (executable) => {
        this.processes.settled(executable);
        this.processes.flush();
      },
      log: options.log,
    });
    this.processes = new ProcessTable({
      store: this.session.tables,
      executables: this.executables,
      selectPolicy: options.selectPolicy,
      onReady: options.onProcessReady,
    });
    this.recovery = new Recovery({
      findImage: (tgid, generation) => this.processes.image(tgid, generation),
      retain: (executable) => this.executables.retain(executable),
      release: (executable) => this.executables.release(executable),
      findRule: ({ segments }, address) => {
        const segment = segments.find(({ textStart, textEnd }) => address >= textStart && address < textEnd);
        return segment && this.session.tables.findRule(segment.number, address - segment.textStart);
      },
      walk: (request) => this.#background.walkSpill(request),
      onSettled: (head, stack) => this.pipeline.countSettled(head, stack),
      onMismatch: options.onMismatch,
      clock: systemClock,
      log: options.log,
    });
    this.pipeline = new Pipeline({
      processes: this.processes,
      recovery: this.recovery,
      symbolizer: this.symbolizer,
      describe: options.describe,
      onNewEpoch: () => this.session.beginEpoch(),
    });
    this.#timers.push(setInterval(() => this.#housekeep(), HOUSEKEEPING_MS).unref());
    this.#timers.push(setInterval(() => this.#beginEpoch(), EPOCH_MS).unref());
  }

  /** Counters of the kernel side, with what became of samples since. */
  counters(): KernelCounters {
    const counters = this.session.counters();
    return { ...counters, byReason: this.pipeline.moves.apply(counters.byReason) };
  }

  /** Ends sampling and brings every sample that has fired to its end: walks in progress may take `timeoutMs`. */
  async endSampling(timeoutMs: number): Promise<void> {
    this.session.stop();
    await this.endWalks();
    await this.recovery.settle(timeoutMs);
  }

  /** When sampling has ended: everything that the kernel side knows of samples is handed over when this resolves. */
  async endWalks(): Promise<void> {
    await this.session.awaitWalks();
    await this.session.flush();
    const spills = this.session.closeWalks(this.pipeline.waitingWalks());
    await this.session.flush();
    this.pipeline.endWalks(spills);
  }

  async close(): Promise<void> {
    for (const timer of this.#timers) clearInterval(timer);
    this.#lowerPriority();
    this.recovery.close();
    this.executables.close(); // before the session: tables that come now have nowhere to go
    await this.#background.close();
    await this.session.close();
    this.symbolizer.close();
  }

  #beginEpoch(): void {
    this.pipeline.beginEpoch();
    releaseMemory();
  }

  #housekeep(): void {
    if (this.pipeline.sideBandLost !== this.#sideBandLost) {
      this.#sideBandLost = this.pipeline.sideBandLost;
      this.processes.rescan();
      this.processes.flush();
    }
    this.processes.collect();
    this.executables.evict(UNUSED_MS);
  }
}
