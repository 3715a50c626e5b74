// SPDX-License-Identifier: Apache-2.0
/**
 * The way of a sample, top to bottom:
 *
 *   ring ─► decode ─► count by stack ─► (once per interval) locate ─► symbolize ─► profile ─► export
 *              └─► recovery ─┘
 *
 * Samples whose walk can be finished here make the detour (recovery/). Process events come the same way, in their order among the samples, and go to the process table.
 */
import { decodeSideBand, type EventBatch } from '@plumbline/bpf';
import type { Executable } from './processes/executable.ts';
import type { ProcessImage } from './processes/process-image.ts';
import type { ProcessTable } from './processes/table.ts';
import { ATTRIBUTE } from './profile/attribute-names.ts';
import type { AttributeSetHandle, Attributes } from './profile/attribute-table.ts';
import type { FrameHandle, FrameKind } from './profile/frame-table.ts';
import { type MappingHandle, NO_MAPPING } from './profile/mapping-table.ts';
import { type FrameLine, hangsFromRoot, type Profile } from './profile/profile.ts';
import type { Recovery } from './recovery/recovery.ts';
import { Aggregator, type StackCount } from './samples/aggregate.ts';
import { decodeRecord, EXACT, outcomeNames, reasonNames, type SampleHead, type Stack } from './samples/decode.ts';
import { Joiner, joinParts, type KernelPart } from './samples/joiner.ts';
import { ReasonMoves } from './samples/reason-moves.ts';
import type { Spill } from './samples/spill.ts';
import { STRATEGY_NAMES } from './session/strategy.ts';

/** What is known of one address. Lines: innermost inlined function first; empty where only the address is known. */
export interface SymbolizedFrame {
  readonly kind: FrameKind;
  readonly lines: readonly FrameLine[];
}

/** Gives addresses their names (symbols/). Addresses are those of calls: one less than return addresses. */
export interface FrameSymbolizer {
  /** Prepares what a batch of lookups needs, off the main thread where it is heavy. */
  prepare(executables: Iterable<Executable>, images: Iterable<ProcessImage>): Promise<void>;
  inFile(executable: Executable, fileAddress: number): SymbolizedFrame;
  /** Executable memory without a file: a JIT's. */
  inMemory(image: ProcessImage, address: number): SymbolizedFrame;
  inKernel(address: bigint): SymbolizedFrame;
}

export interface PipelineOptions {
  readonly processes: ProcessTable;
  readonly recovery: Recovery;
  readonly symbolizer: FrameSymbolizer;
  /** Attributes that name the workload of a process: container, pod, ... (metadata/). Asked once per image. */
  readonly describe: (image: ProcessImage) => Attributes;
  /** Forgets which stacks were sent (session). */
  readonly onNewEpoch: () => void;
}

export interface BuildOptions {
  /** Mark truncated stacks by a root frame, so that no flame graph shows them as whole. */
  readonly markTruncated: boolean;
  /** Added to the attributes of every process. */
  readonly resource?: Attributes;
  /** Names of policies by number, from 1; absent: samples do not say which policy selected them. */
  readonly policies?: readonly string[];
}

/** Distinct stacks after which a new epoch begins, which bounds the memory that they take. */
const MAX_STACKS = 20_000;

export class Pipeline {
  readonly #options: PipelineOptions;
  readonly #samples = new Aggregator();
  readonly #joiner = new Joiner();
  /** Of a user part: the samples that it completes. */
  readonly #partsOf = new WeakMap<SampleHead, readonly KernelPart[]>();
  /** What became of samples after the kernel side had counted them. */
  readonly moves = new ReasonMoves();
  /** Records that no program of ours writes, and side-band records of a form that is not known. */
  malformed = 0;
  sideBandLost = 0;

  constructor(options: PipelineOptions) {
    this.#options = options;
  }

  get deepest(): number {
    return this.#samples.deepest;
  }

  /** Takes a batch of records. The bytes may be reused as soon as this returns. */
  handleBatch(batch: EventBatch): void {
    const { processes, recovery } = this.#options;
    const { records, view, offsets, count } = batch;
    for (let i = 0; i < count; i++) {
      if (batch.kind === 'sideBand') {
        const record = decodeSideBand(records, offsets[i], offsets[i + 1]);
        if (record.type === 'malformed') this.malformed++;
        else if (record.type === 'lost') this.sideBandLost += Number(record.records);
        else processes.handleSideBand(record);
        continue;
      }
      const record = decodeRecord(view, offsets[i], offsets[i + 1] - offsets[i]);
      if (!record) this.malformed++;
      else if (record.kind === 'event') processes.handleEvent(record.event);
      else if (record.kind === 'spill') recovery.addSpill(record.spill);
      else this.#addSample(record.head, record.stack);
    }
    processes.flush();
    recovery.pump();
    if (this.#samples.stacks > MAX_STACKS) this.beginEpoch();
  }

  #addSample(head: SampleHead, body: Stack | undefined): void {
    const stack = this.#samples.resolve(head, body);
    if (head.part === 'kernel') return this.#joiner.addKernelPart(head, stack);
    if (head.part === 'user') this.#partsOf.set(head, this.#joiner.take(head));
    if (!stack) this.#move(head, 'stack_body_lost');
    else if (!head.spilled || !this.#options.recovery.addSample(head, stack)) this.#count(head, stack);
  }

  /** Counts a sample, or all those whose user part it is. */
  #count(head: SampleHead, stack: Stack): void {
    if (head.part !== 'user') return this.#samples.count(head, stack);
    for (const part of this.#partsOf.get(head) ?? []) {
      if (part.stack) this.#samples.count(part.head, joinParts(part.stack, stack), part.count);
      else this.moves.move(reasonNames[stack.reason] ?? 'internal_error', 'stack_body_lost', part.count);
    }
  }

  #move(head: SampleHead, to: string): void {
    const count = head.part === 'user' ? (this.#partsOf.get(head) ?? []).reduce((sum, part) => sum + part.count, 0) : 1;
    this.moves.move(reasonNames[head.reason] ?? 'internal_error', to, count);
  }

  /** Counts a sample that recovery has held, with the stack that it has now. */
  countSettled(head: SampleHead, stack: Stack): void {
    if (stack.reason !== head.reason) this.#move(head, reasonNames[stack.reason] ?? 'internal_error');
    this.#count(head, stack);
  }

  /** The walks of tasks that samples wait for. */
  waitingWalks(): { readonly tgid: number; readonly tid: number; readonly walk: number; readonly policy: number }[] {
    return this.#joiner.waiting().flatMap((parts) => {
      const found = parts.find(({ stack }) => stack !== undefined);
      return found?.stack ? [{ ...found.head, tgid: found.stack.tgid, policy: found.stack.policy }] : [];
    });
  }

  /** No more walks of tasks will come: samples that wait for one stand as they are, or are walked from a copy of the stack. */
  endWalks(spills: readonly Spill[]): void {
    const { recovery } = this.#options;
    for (const parts of this.#joiner.takeAll()) {
      const { head, stack } = parts.find((part) => part.stack !== undefined) ?? {};
      if (!head || !stack) continue; // frames that are not known any more: nothing to show
      const spill = spills.find(({ tid, time }) => tid === head.tid && time === head.walk);
      const whole: SampleHead = { ...head, part: 'user', time: head.walk, spilled: spill !== undefined };
      this.#partsOf.set(whole, parts);
      if (spill) recovery.addSpill(spill);
      if (!spill || !recovery.addSample(whole, stack)) this.#count(whole, stack);
    }
    recovery.pump();
  }

  beginEpoch(): void {
    this.#samples.beginEpoch();
    this.#options.onNewEpoch();
  }

  /** The samples since the last call, not yet symbolized. */
  take(): StackCount[] {
    return this.#samples.take();
  }

  /** Symbolizes counted stacks into a profile. */
  async build(counts: readonly StackCount[], profile: Profile, options: BuildOptions): Promise<void> {
    const { symbolizer, processes } = this.#options;
    const images = new Set<ProcessImage>();
    const executables = new Set<Executable>();
    for (const { stack } of counts) {
      const image = processes.image(stack.tgid, stack.generation);
      if (!image) continue;
      images.add(image);
      for (const address of stack.user) {
        const executable = image.find(address)?.executable;
        if (executable) executables.add(executable);
      }
    }
    await symbolizer.prepare(executables, images);
    const frames = new ProfileFrames(profile, symbolizer);
    for (const count of counts)
      this.#addStack(profile, frames, count, processes.image(count.stack.tgid, count.stack.generation), options);
  }

  #addStack(
    profile: Profile,
    frames: ProfileFrames,
    { stack, threads }: StackCount,
    image: ProcessImage | undefined,
    options: BuildOptions,
  ): void {
    const reason = reasonNames[stack.reason] ?? 'internal_error';
    const outcome = outcomeNames[stack.reason] ?? 'truncated';
    const handles: FrameHandle[] = [];
    for (const address of stack.kernel) handles.push(frames.kernel(address));
    for (let i = 0; i < stack.user.length; i++) {
      if (stack.elided > 0 && i === stack.elidedAt) handles.push(profile.internElidedFrames());
      const call = stack.userFlags[i] & EXACT ? stack.user[i] : stack.user[i] - 1;
      handles.push(image ? frames.user(image, call) : frames.unknown(call));
    }
    if (outcome === 'truncated' && options.markTruncated && !hangsFromRoot(reason))
      handles.push(profile.internTruncatedRoot(reason));
    const handle = profile.stacks.internLeafFirst(handles);
    const resource = this.#resource(profile, stack, image, options.resource);
    for (const [tid, { comm, count }] of threads)
      profile.addSample(
        resource,
        handle,
        {
          [ATTRIBUTE.threadId]: tid,
          [ATTRIBUTE.threadName]: comm,
          [ATTRIBUTE.stackOutcome]: outcome,
          [ATTRIBUTE.unwindStrategy]: STRATEGY_NAMES[stack.strategy],
          [ATTRIBUTE.policyName]: options.policies?.[stack.policy - 1],
          ...(outcome === 'truncated' ? evidence(stack, reason, image) : {}),
        },
        count,
      );
    for (const [, { count }] of threads) profile.countOutcome(outcome, reason, count);
  }

  #resource(
    profile: Profile,
    stack: Stack,
    image: ProcessImage | undefined,
    more: Attributes | undefined,
  ): AttributeSetHandle {
    const attributes = image ? this.#options.describe(image) : { [ATTRIBUTE.processPid]: stack.tgid };
    return profile.attributes.internSet(more ? { ...more, ...attributes } : attributes);
  }
}

/** Where and why a walk stopped, for the one who has to find the file without unwind information. */
function evidence(stack: Stack, reason: string, image: ProcessImage | undefined): Attributes {
  const place = stack.failingPc > 0 ? image?.locate(stack.failingPc) : undefined;
  const buildIds = place?.mapping.executable?.buildIds;
  return {
    [ATTRIBUTE.truncationReason]: reason,
    [ATTRIBUTE.truncationAddress]: stack.failingPc > 0 ? `0x${stack.failingPc.toString(16)}` : undefined,
    [ATTRIBUTE.truncationFile]: place?.mapping.path || undefined,
    [ATTRIBUTE.elidedFrames]: stack.elided || undefined,
    [ATTRIBUTE.truncationPage]: place?.fileAddress === undefined ? undefined : pageOf(place.fileAddress),
    [ATTRIBUTE.truncationBuildId]: buildIds?.gnu || buildIds?.go || undefined,
  };
}

function pageOf(fileAddress: number): string {
  return `0x${(fileAddress - (fileAddress % 4096)).toString(16)}`;
}

/** The frames of one profile, each made once. */
class ProfileFrames {
  readonly #profile: Profile;
  readonly #symbolizer: FrameSymbolizer;
  readonly #byFile = new Map<Executable, Map<number, FrameHandle>>();
  readonly #byKernelAddress = new Map<bigint, FrameHandle>();
  readonly #mappings = new Map<Executable, MappingHandle>();
  #kernelMapping: MappingHandle | undefined;

  constructor(profile: Profile, symbolizer: FrameSymbolizer) {
    this.#profile = profile;
    this.#symbolizer = symbolizer;
  }

  kernel(address: bigint): FrameHandle {
    let frame = this.#byKernelAddress.get(address);
    if (frame === undefined) {
      this.#kernelMapping ??= this.#profile.mappings.intern({
        filename: '[kernel.kallsyms]',
        buildId: '',
        buildIdKind: 'gnu',
        memoryStart: 0n,
        memoryLimit: 0n,
        fileOffset: 0n,
      });
      const { kind, lines } = this.#symbolizer.inKernel(address);
      frame = this.#profile.internFrame(kind, this.#kernelMapping, address, lines);
      this.#byKernelAddress.set(address, frame);
    }
    return frame;
  }

  user(image: ProcessImage, address: number): FrameHandle {
    const place = image.locate(address);
    if (!place) return this.unknown(address);
    const { executable, path } = place.mapping;
    if (!executable || place.fileAddress === undefined) {
      const { kind, lines } = this.#symbolizer.inMemory(image, address);
      return this.#profile.internFrame(
        kind,
        NO_MAPPING,
        address,
        lines.length > 0 ? lines : [{ name: `[${path === '' ? 'anonymous' : path}]` }],
      );
    }
    let ofFile = this.#byFile.get(executable);
    if (!ofFile) {
      ofFile = new Map();
      this.#byFile.set(executable, ofFile);
    }
    let frame = ofFile.get(place.fileAddress);
    if (frame === undefined) {
      const { kind, lines } = this.#symbolizer.inFile(executable, place.fileAddress);
      frame = this.#profile.internFrame(kind, this.#mapping(executable), place.fileAddress, lines);
      ofFile.set(place.fileAddress, frame);
    }
    return frame;
  }

  /** An address in no mapping that is known. */
  unknown(address: number): FrameHandle {
    return this.#profile.internFrame('native', NO_MAPPING, address, [{ name: '[unknown]' }]);
  }

  #mapping(executable: Executable): MappingHandle {
    let handle = this.#mappings.get(executable);
    if (handle === undefined) {
      const first = executable.loads[0];
      const last = executable.loads.at(-1);
      handle = this.#profile.mappings.intern({
        filename: executable.path,
        buildId: executable.buildIds.gnu || executable.buildIds.go,
        buildIdKind: executable.buildIds.gnu ? 'gnu' : 'go',
        memoryStart: BigInt(first?.address ?? 0),
        memoryLimit: BigInt(last ? last.address + last.fileSize : 0),
        fileOffset: BigInt(first?.offset ?? 0),
      });
      this.#mappings.set(executable, handle);
    }
    return handle;
  }
}
