// SPDX-License-Identifier: Apache-2.0
/**
 * Finishes the walks that the kernel side had to give up, and verifies a share of the others. A sample whose walk is to be
 * finished is held until that is decided: it becomes `recovered`, or stays what it was. Raw stack memory is kept only while
 * a walk waits for what it needs, in bounded amount and for bounded time.
 */
import { limits } from '@plumbline/bpf';
import type { Clock } from '../clock.ts';
import type { Logger } from '../log.ts';
import type { Executable } from '../processes/executable.ts';
import type { ImageMapping, ProcessImage } from '../processes/process-image.ts';
import { outcomeNames, reasonNames, type SampleHead, type Stack } from '../samples/decode.ts';
import type { Spill } from '../samples/spill.ts';
import { stackKey } from '../samples/stack-key.ts';
import { type AddressSpace, describeSpace } from './address-space.ts';
import { isRoot, type WalkEnd } from './cfi-unwinder.ts';
import { compareWalks, type Mismatch, type Verdict } from './verification.ts';
import type { LearnedRule, WalkReply, WalkRequest } from './walk-request.ts';

/** Why a walk could not be finished: how the agent's walk ended, or why there was none. */
export type RecoveryFailure =
  | Exclude<WalkEnd, 'root_undefined_ra' | 'root_entry'>
  | 'failed'
  | 'timeout'
  | 'process_unknown'
  | 'table_pending'
  | 'rule_needed'
  | 'queue_full'
  | 'shutdown';

export interface RecoveryOptions {
  /** The image that a sample was taken of. */
  readonly findImage: (tgid: number, generation: number) => ProcessImage | undefined;
  /** Keeps executables open while a walk may read them (processes/executables.ts). */
  readonly retain: (executable: Executable) => void;
  readonly release: (executable: Executable) => void;
  /** The rule at a file address in the kernel side's table (session/tables.ts). */
  readonly findRule: (executable: Executable, address: number) => Uint8Array | undefined;
  /** A sample that was held: with the stack that it came with, or the whole one. */
  readonly onSettled: (head: SampleHead, stack: Stack) => void;
  readonly onMismatch?: (mismatch: Mismatch, image: ProcessImage) => void;
  readonly log: Logger;
  readonly clock: Clock;
  /** Walks, on another thread, which takes the stack's memory away. Undefined: it ended before it could answer. */
  readonly walk: (request: WalkRequest) => Promise<WalkReply | undefined>;
}

/** Stack memory that may wait: bytes. */
const MAX_BYTES = 24 << 20;
/** How long a walk may wait for its process, a mapping or a table to become known: ms. */
const MAX_AGE_MS = 5_000;
const RETRY_MS = 50;
/** Rules that one walk may ask for; each costs a walk. */
const MAX_RULES = 256;
/** Spills that wait for their samples, which come right after them. */
const MAX_UNPAIRED = 256;
const MAX_LOGGED_MISMATCHES = 20;
const RECOVERED = reasonNames.indexOf('recovered');
const FRAME_LIMIT = reasonNames.indexOf('frame_limit');

interface Held {
  readonly spill: Spill;
  readonly head: SampleHead;
  readonly stack: Stack;
  /** Set where the sample is counted already and its walk only checked. */
  readonly verifies: boolean;
  readonly since: number;
  /** Bytes of raw stack. */
  readonly bytes: number;
  /** Its raw stack; away while it is being walked. */
  memory: Uint8Array<ArrayBuffer> | undefined;
  /** The mappings with which it was tried last. */
  tried: readonly ImageMapping[] | undefined;
  /** Rules that the walk has needed so far, and the executable whose table it needs next. */
  readonly rules: LearnedRule[];
  needed: { readonly executable: Executable; readonly address: number } | undefined;
  failure: RecoveryFailure;
}

export class Recovery {
  readonly #options: RecoveryOptions;
  /** Spills whose sample has not come yet, by thread. */
  readonly #unpaired = new Map<number, Spill>();
  readonly #held = new Set<Held>();
  #bytes = 0;
  #isClosed = false;
  #stopTimer: (() => void) | undefined;
  readonly #spaces = new WeakMap<readonly ImageMapping[], AddressSpace>();
  readonly #settled: AbortController[] = [];
  recovered = 0;
  readonly failures = new Map<RecoveryFailure, number>();
  readonly verdicts: Record<Verdict, number> = { equal: 0, partial: 0, undecided: 0, mismatch: 0 };

  constructor(options: RecoveryOptions) {
    this.#options = options;
  }

  /** Samples and verifications in progress. */
  get pending(): number {
    return this.#held.size;
  }

  /** Raw stack memory that is held. */
  get pendingBytes(): number {
    return this.#bytes;
  }

  /** Takes a spill, or more stack of the last one of the thread; its sample follows. */
  addSpill(spill: Spill): void {
    const before = this.#unpaired.get(spill.tid);
    const isMore = before !== undefined && before.time === spill.time && before.tgid === spill.tgid;
    const joined = isMore ? joinSpills(before, spill) : spill;
    this.#unpaired.delete(spill.tid);
    this.#unpaired.set(spill.tid, joined);
    if (this.#unpaired.size > MAX_UNPAIRED) this.#unpaired.delete(this.#unpaired.keys().next().value as number);
  }

  /**
   * Takes a sample that came with a spill. True: it is held, and comes back by `onSettled`. False: it stands as it is (a
   * complete one may be verified all the same).
   */
  addSample(head: SampleHead, stack: Stack): boolean {
    const spill = this.#unpaired.get(head.tid);
    if (this.#isClosed) return false;
    if (!spill || spill.time !== head.time || spill.tgid !== stack.tgid) return false;
    this.#unpaired.delete(head.tid);
    const verifies = spill.isLeaf && outcomeNames[stack.reason] === 'complete';
    if (!verifies && ((limits.SPILL_REASONS / 2 ** stack.reason) & 1) === 0) return false;
    const bytes = spill.stack.length;
    if (this.#bytes + bytes > MAX_BYTES) {
      if (!verifies) this.#countFailure('queue_full');
      return false;
    }
    const held: Held = {
      spill,
      head,
      stack,
      verifies,
      since: this.#now(),
      bytes,
      memory: spill.stack,
      tried: undefined,
      rules: [],
      needed: undefined,
      failure: 'process_unknown',
    };
    this.#held.add(held);
    this.#bytes += bytes;
    return !verifies;
  }

  /** Walks what can be walked now. Called after each batch of records, and by a timer while something waits. */
  pump(): void {
    const now = this.#now();
    for (const held of this.#held) {
      if (!held.memory) continue; // is being walked
      const { spill } = held;
      const image = this.#options.findImage(spill.tgid, spill.generation);
      const isReady = held.needed ? this.#learn(held) : image?.mappings !== held.tried;
      if (image && isReady && image.mappings.length > 0) this.#walk(held, image);
      else if (now - held.since > MAX_AGE_MS) this.#giveUp(held);
    }
    if (this.#held.size > 0) this.#stopTimer ??= this.#options.clock.every(RETRY_MS, () => this.pump());
  }

  /** Resolves when nothing is in progress, or after `timeoutMs`; what is left then stays what it was. */
  async settle(timeoutMs: number): Promise<void> {
    this.pump();
    if (this.#held.size > 0) {
      const settled = new AbortController();
      this.#settled.push(settled);
      await this.#options.clock.sleep(timeoutMs, settled.signal);
    }
    for (const held of this.#held) this.#giveUp(held);
  }

  /** Samples in progress stay what they were; so do those that come from now on. */
  close(): void {
    this.#isClosed = true;
    for (const held of this.#held) {
      held.failure = 'shutdown';
      this.#giveUp(held);
    }
    this.#unpaired.clear();
  }

  #now(): number {
    return Number(this.#options.clock.monotonicNs()) / 1e6;
  }

  #walk(held: Held, image: ProcessImage): void {
    const { spill, rules } = held;
    const stack = held.memory as Uint8Array<ArrayBuffer>;
    const { mappings } = image;
    held.memory = undefined;
    held.tried = mappings;
    held.failure = 'timeout';
    const executables = mappings.flatMap(({ executable }) => executable ?? []);
    for (const executable of executables) this.#options.retain(executable);
    const { pc, exact, code, registers, stackStart } = spill;
    const maxFrames = limits.MAX_USER_FRAMES; // the whole way: of a deeper stack both ends are kept
    void this.#options
      .walk({ pc, exact, code, registers, stackStart, stack, maxFrames, rules, ...this.#space(mappings) })
      .then((reply) => {
        for (const executable of executables) this.#options.release(executable);
        if (this.#held.has(held)) this.#walked(held, image, reply);
      });
  }

  /** Takes the rule that a walk needs from the kernel side's table. False: that is still being built. */
  #learn(held: Held): boolean {
    const { executable, address } = held.needed as NonNullable<Held['needed']>;
    if (executable.state === 'pending') return false;
    held.rules.push({ file: executable.id, address, rule: this.#options.findRule(executable, address) });
    held.needed = undefined;
    return true;
  }

  #walked(held: Held, image: ProcessImage, reply: WalkReply | undefined): void {
    if (!reply) {
      held.failure = 'failed';
      return this.#giveUp(held);
    }
    if (reply.error) this.#options.log.debug('a spilled stack could not be walked', { error: reply.error });
    if (isRoot(reply.end)) return this.#succeed(held, image, reply);
    const { needed } = reply;
    const executable = needed && image.mappings.find((mapping) => mapping.executable?.id === needed.file)?.executable;
    if (needed && executable && held.rules.length < MAX_RULES) {
      held.memory = reply.stack;
      held.needed = { executable, address: needed.address };
      held.failure = 'table_pending';
      return this.pump();
    }
    held.failure = reply.end as RecoveryFailure;
    const isMappingMissing = reply.end === 'no_mapping' || reply.end === 'no_unwind_info';
    if (isMappingMissing && image.endedAt === undefined && this.#now() - held.since < MAX_AGE_MS) {
      held.memory = reply.stack; // once more when there are other mappings
      this.pump();
    } else if (held.verifies) this.#succeed(held, image, reply);
    else this.#giveUp(held);
  }

  #succeed(held: Held, image: ProcessImage, reply: WalkReply): void {
    const { head, stack, spill, verifies } = held;
    this.#forget(held);
    if (verifies) {
      const { verdict, at } = compareWalks(stack, reply);
      this.verdicts[verdict]++;
      const { addresses, flags, end } = reply;
      if (verdict === 'mismatch') this.#mismatch({ stack, addresses, flags, end, at }, image);
    } else {
      const joined = joinStack(stack, spill, reply);
      if (joined.reason === RECOVERED) this.recovered++;
      else this.#countFailure('frame_limit');
      this.#options.onSettled(head, joined);
    }
    this.#wake();
  }

  /** The sample stays what it was. */
  #giveUp(held: Held): void {
    this.#forget(held);
    if (held.verifies) this.verdicts.undecided++;
    else {
      this.#countFailure(held.failure);
      this.#options.onSettled(held.head, held.stack);
    }
    this.#wake();
  }

  #forget(held: Held): void {
    this.#held.delete(held);
    this.#bytes -= held.bytes;
    held.memory = undefined;
  }

  #wake(): void {
    if (this.#held.size > 0) return;
    this.#stopTimer?.();
    this.#stopTimer = undefined;
    for (const waiting of this.#settled.splice(0)) waiting.abort();
  }

  #countFailure(failure: RecoveryFailure): void {
    this.failures.set(failure, (this.failures.get(failure) ?? 0) + 1);
  }

  #mismatch(mismatch: Mismatch, image: ProcessImage): void {
    this.#options.onMismatch?.(mismatch, image);
    if (this.verdicts.mismatch > MAX_LOGGED_MISMATCHES) return;
    const { stack, addresses, end, at } = mismatch;
    const place = (address: number | undefined) => {
      const found = address === undefined ? undefined : image.locate(address);
      return found
        ? `${found.mapping.path}+0x${(found.fileAddress ?? found.fileOffset).toString(16)}`
        : String(address);
    };
    this.#options.log.warn('a stack walk of the kernel side does not stand verification', {
      tgid: image.tgid,
      path: image.path,
      frame: at,
      before: place(stack.user[at - 1]),
      kernel: place(stack.user[at]),
      agent: place(addresses[at]),
      kernelFrames: stack.user.length,
      agentFrames: addresses.length,
      agentEnd: end,
    });
  }

  /** The address space as the worker takes it, made once for each list of mappings. */
  #space(mappings: readonly ImageMapping[]): AddressSpace {
    let space = this.#spaces.get(mappings);
    if (!space) {
      space = describeSpace(mappings);
      this.#spaces.set(mappings, space);
    }
    return space;
  }
}

/** A spill with the stack that another goes on with; without it where there is a gap between them. */
function joinSpills(spill: Spill, more: Spill): Spill {
  if (more.stackStart !== spill.stackStart + BigInt(spill.stack.length)) return spill;
  const stack = new Uint8Array(spill.stack.length + more.stack.length);
  stack.set(spill.stack);
  stack.set(more.stack, spill.stack.length);
  return { ...spill, stack };
}

/**
 * The frames of the sample before that of the spill, then those that were walked here; where these are too many, as the
 * kernel side would keep them: both ends.
 */
function joinStack(stack: Stack, { frame, maxFrames }: Spill, { addresses, flags }: WalkReply): Stack {
  const inner = Math.min(Math.max(0, frame - stack.elided), stack.user.length);
  const count = inner + addresses.length;
  const removed = Math.max(0, count - maxFrames);
  // Where frames were left out before, it was done at the same place.
  const elidedAt = stack.elided > 0 ? stack.elidedAt : removed > 0 ? maxFrames - Math.floor(maxFrames / 2) : 0;
  const join = <T extends Float64Array | Uint8Array>(joined: T, before: T, after: T): T => {
    joined.set(before.subarray(0, inner));
    joined.set(after, inner);
    joined.copyWithin(elidedAt, elidedAt + removed);
    return joined.subarray(0, count - removed) as T;
  };
  const elided = stack.elided + removed;
  const joined = {
    ...{ ...stack, failingPc: 0, elided, elidedAt },
    reason: elided > 0 ? FRAME_LIMIT : RECOVERED,
    user: join(new Float64Array(count), stack.user, addresses),
    userFlags: join(new Uint8Array(count), stack.userFlags, flags),
  };
  return { ...joined, key: stackKey(joined) };
}
