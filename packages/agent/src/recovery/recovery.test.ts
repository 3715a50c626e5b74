// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { limits, reasons } from '@plumbline/bpf';
import { ManualClock } from '../clock.ts';
import { silentLogger } from '../log.ts';
import { Executable } from '../processes/executable.ts';
import { type ImageMapping, ProcessImage } from '../processes/process-image.ts';
import { outcomeNames, reasonNames, type SampleHead, type Stack } from '../samples/decode.ts';
import type { Spill } from '../samples/spill.ts';
import { Recovery } from './recovery.ts';
import type { Mismatch } from './verification.ts';
import { type FileAddress, NO_FILE, type WalkReply, type WalkRequest } from './walk-request.ts';

const number = (name: string) => reasonNames.indexOf(name);
const TID = 7;
const RULE = new Uint8Array(16).fill(3);

function mapping(start: number, executable?: Executable): ImageMapping {
  return { start, end: start + 0x1000, offset: 0, path: '', device: '', inode: 0, executable };
}

function stackOf(reason: string, user: readonly number[]): Stack {
  return {
    key: 1,
    tgid: 5,
    generation: 2,
    reason: number(reason),
    strategy: 1,
    policy: 1,
    inKernel: true,
    kernelClipped: false,
    steps: 3,
    tailCalls: 1,
    cgroup: 0n,
    failingPc: 0x1000,
    kernel: BigUint64Array.of(0xffff_0000_0000_0001n),
    user: Float64Array.from(user),
    userFlags: Uint8Array.from(user, (_, i) => (i === 0 ? 1 : 0)),
    elided: 0,
    elidedAt: 0,
    spliced: 0,
  };
}

const headOf = (stack: Stack, time = 100): SampleHead => ({
  ...{ key: stack.key, tid: TID, comm: 'x', cpu: 0, reason: stack.reason, spilled: true, walk: 0 },
  time,
});

const spillOf = (more: Partial<Spill> = {}): Spill => ({
  ...{ tgid: 5, tid: TID, generation: 2, time: 100, isLeaf: false, frame: 2, maxFrames: 100, pc: 0x1234, exact: false },
  code: new Uint8Array(0),
  registers: [],
  stackStart: 0x7000n,
  stack: new Uint8Array(1000),
  ...more,
});

/** Answers when told to. */
class ManualWalker {
  readonly requests: WalkRequest[] = [];
  readonly #answers: ((reply: WalkReply | undefined) => void)[] = [];

  walk(request: WalkRequest): Promise<WalkReply | undefined> {
    this.requests.push(request);
    return new Promise((resolve) => this.#answers.push(resolve));
  }

  async answer(
    end: WalkReply['end'] | undefined,
    addresses: readonly number[] = [],
    needed?: FileAddress,
  ): Promise<void> {
    const request = this.requests[this.requests.length - this.#answers.length];
    const resolve = this.#answers.shift();
    assert.ok(resolve, 'there is a request');
    resolve(
      end && {
        ...{ end, pc: 0, stack: request.stack, needed },
        addresses: Float64Array.from(addresses),
        flags: new Uint8Array(addresses.length),
      },
    );
    await new Promise((done) => setImmediate(done));
  }
}

describe('Recovery', () => {
  let walker: ManualWalker;
  let clock: ManualClock;
  let image: ProcessImage | undefined;
  let settled: { head: SampleHead; stack: Stack }[];
  let mismatches: Mismatch[];
  let recovery: Recovery;
  const file = new Executable(3, 'key', '/bin/x', 11);

  beforeEach(() => {
    walker = new ManualWalker();
    clock = new ManualClock();
    image = new ProcessImage(5, 2, 1, 0);
    image.mappings = [mapping(0x1000, file)];
    settled = [];
    mismatches = [];
    file.users = 0;
    file.state = 'pending';
    recovery = new Recovery({
      findImage: (tgid, generation) => (image?.tgid === tgid && image.generation === generation ? image : undefined),
      retain: (executable) => void executable.users++,
      release: (executable) => void executable.users--,
      findRule: (executable, address) => (executable === file && address === 0x42 ? RULE : undefined),
      onSettled: (head, stack) => void settled.push({ head, stack }),
      onMismatch: (mismatch) => void mismatches.push(mismatch),
      log: silentLogger,
      clock,
      walk: (request) => walker.walk(request),
    });
  });

  /** A spill and its sample. */
  function take(reason: string, user: readonly number[], spill: Partial<Spill> = {}, time = 100): boolean {
    const stack = stackOf(reason, user);
    recovery.addSpill(spillOf({ time, ...spill }));
    const isHeld = recovery.addSample(headOf(stack, time), stack);
    recovery.pump();
    return isHeld;
  }
  const failures = () => Object.fromEntries(recovery.failures);

  it('joins what the kernel side and the agent have found', async () => {
    assert.equal(take('tail_call_limit', [1, 2, 3]), true);
    assert.equal(file.users, 1, 'its files stay open meanwhile');
    await walker.answer('root_undefined_ra', [30, 40]);
    const [{ head, stack }] = settled;
    assert.deepEqual([...stack.user], [1, 2, 30, 40]);
    assert.deepEqual([...stack.userFlags], [1, 0, 0, 0]);
    assert.deepEqual([...stack.kernel], [0xffff_0000_0000_0001n]);
    assert.deepEqual([outcomeNames[stack.reason], reasonNames[head.reason]], ['recovered', 'tail_call_limit']);
    assert.notEqual(stack.key, 1);
    assert.deepEqual([recovery.recovered, recovery.pending, recovery.pendingBytes, file.users], [1, 0, 0, 0]);
  });

  it('gives equal stacks equal keys, and others other ones', async () => {
    for (const addresses of [[30], [30], [31]]) {
      take('no_unwind_info', [1, 2, 3]);
      await walker.answer('root_entry', addresses);
    }
    const keys = settled.map(({ stack }) => stack.key);
    assert.equal(keys[0], keys[1]);
    assert.notEqual(keys[0], keys[2]);
  });

  it('asks for the whole way, and names files once', () => {
    assert.ok(image);
    image.mappings = [mapping(0x1000, file), mapping(0x2000), mapping(0x3000), mapping(0x5000, file)];
    take('no_mapping', [1, 2, 3], { frame: 2, maxFrames: 10 });
    const [{ maxFrames, mappings, files }] = walker.requests;
    assert.equal(maxFrames, limits.MAX_USER_FRAMES);
    assert.deepEqual([...mappings], [0x1000, 0x2000, 0, 3, 0x2000, 0x4000, 0, NO_FILE, 0x5000, 0x6000, 0, 3]);
    assert.deepEqual(files, [{ id: 3, fd: 11 }]);
  });

  it('joins the stack of several spills of one frame, as far as there is no gap', () => {
    const piece = (start: bigint, byte: number) => ({ stackStart: start, stack: new Uint8Array(4).fill(byte) });
    recovery.addSpill(spillOf(piece(0x100n, 1)));
    recovery.addSpill(spillOf(piece(0x104n, 2)));
    recovery.addSpill(spillOf(piece(0x110n, 3)));
    const stack = stackOf('bad_frame', [1, 2]);
    recovery.addSample(headOf(stack), stack);
    recovery.pump();
    assert.deepEqual([...walker.requests[0].stack], [1, 1, 1, 1, 2, 2, 2, 2]);
    assert.equal(walker.requests[0].stackStart, 0x100n);
  });

  it('begins anew with a spill of another moment', () => {
    recovery.addSpill(spillOf({ time: 99 }));
    recovery.addSpill(spillOf({ stackStart: 0x7000n + 1000n }));
    const stack = stackOf('bad_frame', [1, 2]);
    assert.ok(recovery.addSample(headOf(stack), stack));
    recovery.pump();
    assert.equal(walker.requests[0].stack.length, 1000);
  });

  it('keeps both ends of a stack with more frames than the policy allows', async () => {
    take('tail_call_limit', [1, 2, 3, 4], { frame: 4, maxFrames: 5 });
    await walker.answer('root_entry', [5, 6, 7]);
    const [{ stack }] = settled;
    assert.deepEqual([[...stack.user], stack.elided, stack.elidedAt], [[1, 2, 3, 6, 7], 2, 3]);
    assert.equal(reasonNames[stack.reason], 'frame_limit');
    assert.deepEqual([recovery.recovered, failures()], [0, { frame_limit: 1 }]);
  });

  it('goes on where the kernel side had left out frames already', async () => {
    // Of 1 to 7, 3 and 4 were left out; the walk stopped at the last.
    const cut = { ...stackOf('bad_frame', [1, 2, 3, 6, 7]), elided: 2, elidedAt: 3 };
    recovery.addSpill(spillOf({ frame: 6, maxFrames: 5 }));
    assert.ok(recovery.addSample(headOf(cut), cut));
    recovery.pump();
    await walker.answer('root_entry', [7, 8]);
    const [{ stack }] = settled;
    assert.deepEqual([[...stack.user], stack.elided, stack.elidedAt], [[1, 2, 3, 7, 8], 3, 3]);
    assert.equal(reasonNames[stack.reason], 'frame_limit');
  });

  it('leaves a sample what it was where the walk cannot be finished', async () => {
    for (const end of ['stack_end', 'bad_frame', 'failed'] as const) {
      take('unsupported_rule', [1, 2]);
      await walker.answer(end);
    }
    take('unsupported_rule', [1, 2]);
    await walker.answer(undefined); // the thread died
    assert.deepEqual(failures(), { stack_end: 1, bad_frame: 1, failed: 2 });
    for (const { stack } of settled) {
      assert.equal(reasonNames[stack.reason], 'unsupported_rule');
      assert.equal(stack.key, 1);
    }
    assert.equal(settled.length, 4);
  });

  it('waits for a process that is not known yet', async () => {
    const late = image;
    image = undefined;
    take('process_unknown', [1], { frame: 0 });
    await clock.advance(500);
    assert.equal(walker.requests.length, 0);
    image = late;
    await clock.advance(100);
    await walker.answer('root_undefined_ra', [1, 2]);
    assert.equal(recovery.recovered, 1);
    image = undefined;
    take('process_unknown', [1], { frame: 0 });
    await clock.advance(10_000);
    assert.deepEqual(failures(), { process_unknown: 1 });
    assert.equal(settled.length, 2);
  });

  it('tries again when the process has other mappings, with the same stack', async () => {
    assert.ok(image);
    take('no_mapping', [1, 2], { stack: Uint8Array.of(42) });
    await walker.answer('no_mapping');
    await clock.advance(200);
    assert.equal(walker.requests.length, 1);
    image.mappings = [mapping(0x1000, file), mapping(0x2000, file)];
    await clock.advance(100);
    assert.deepEqual([...walker.requests[1].stack], [42]);
    await walker.answer('root_undefined_ra', [2, 3]);
    assert.equal(recovery.recovered, 1);
    take('no_mapping', [1, 2]);
    await walker.answer('no_mapping');
    await clock.advance(10_000);
    assert.deepEqual(failures(), { no_mapping: 1 });
    assert.equal(recovery.pendingBytes, 0);
  });

  it('takes rules from the table of the kernel side, once that is built', async () => {
    take('unwind_info_pending', [1, 2]);
    await walker.answer('rule_needed', [], { file: 3, address: 0x42 });
    await clock.advance(200);
    assert.equal(walker.requests.length, 1, 'the table is pending');
    file.state = 'ready';
    await clock.advance(100);
    assert.deepEqual(walker.requests[1].rules, [{ file: 3, address: 0x42, rule: RULE }]);
    await walker.answer('rule_needed', [], { file: 3, address: 0x43 });
    assert.deepEqual(walker.requests[2].rules[1], { file: 3, address: 0x43, rule: undefined });
    await walker.answer('root_entry', [2, 3]);
    assert.equal(recovery.recovered, 1);
    take('no_mapping', [1, 2]);
    for (let i = 0; i < 1000 && recovery.pending > 0; i++)
      await walker.answer('rule_needed', [], { file: 3, address: 0x42 });
    assert.deepEqual(failures(), { rule_needed: 1 });
    assert.equal(file.users, 0);
  });

  it('does not wait for mappings of a process that has ended', async () => {
    assert.ok(image);
    image.endedAt = 1;
    take('no_mapping', [1, 2]);
    await walker.answer('no_mapping');
    assert.deepEqual(failures(), { no_mapping: 1 });
  });

  it('holds no sample without its own spill', () => {
    const stack = stackOf('no_mapping', [1]);
    assert.equal(recovery.addSample(headOf(stack), stack), false);
    recovery.addSpill(spillOf({ time: 99 }));
    assert.equal(recovery.addSample(headOf(stack), stack), false, 'of another time');
    recovery.addSpill(spillOf({ tgid: 6 }));
    assert.equal(recovery.addSample(headOf(stack), stack), false, 'of another process');
    recovery.addSpill(spillOf({ isLeaf: true }));
    const other = stackOf('read_fault', [1]);
    assert.equal(recovery.addSample(headOf(other), other), false, 'of a reason that is not spilled');
    assert.equal(recovery.pendingBytes, 0);
  });

  it('bounds the memory that waits, and the spills whose samples were lost', async () => {
    image = undefined;
    const stack = new Uint8Array(64 << 10);
    let held = 0;
    for (let i = 0; i < 1000; i++) if (take('process_unknown', [1], { stack }, i)) held++;
    assert.ok(held > 100 && held < 1000);
    assert.ok(recovery.pendingBytes <= 32 << 20);
    assert.equal(failures().queue_full, 1000 - held);
    for (let tid = 100; tid < 10_000; tid++) recovery.addSpill(spillOf({ tid }));
    const late = stackOf('no_mapping', [1]);
    assert.equal(recovery.addSample({ ...headOf(late), tid: 100 }, late), false, 'long forgotten');
    recovery.close();
  });

  it('settles what it can in the time that it has', async () => {
    take('no_mapping', [1, 2, 3]);
    let isDone = false;
    const waiting = recovery.settle(1_000).then(() => {
      isDone = true;
    });
    await walker.answer('root_undefined_ra', [3]);
    await waiting;
    assert.deepEqual([isDone, recovery.recovered], [true, 1]);
    take('no_mapping', [1, 2, 3]);
    const inVain = recovery.settle(1_000);
    await clock.advance(1_001);
    await inVain;
    assert.equal(settled.length, 2);
    await walker.answer('root_undefined_ra', [3]); // too late: it has its outcome
    assert.deepEqual([settled.length, recovery.recovered], [2, 1]);
    assert.deepEqual(failures(), { timeout: 1 });
  });

  it('gives every sample its outcome when it is closed, and takes no more', async () => {
    take('no_mapping', [1, 2, 3]);
    image = undefined;
    take('no_mapping', [1, 2, 3]);
    recovery.close();
    await walker.answer(undefined); // the thread ends then
    assert.deepEqual(failures(), { shutdown: 2 });
    assert.equal(take('no_mapping', [1]), false);
    assert.equal(settled.length, 2);
    assert.equal(file.users, 0);
  });

  it('verifies complete walks beside their way', async () => {
    const verify = async (end: WalkReply['end'], addresses: number[]) => {
      assert.equal(take('root_undefined_ra', [1, 2, 3], { isLeaf: true, frame: 0 }), false, 'it is counted at once');
      await walker.answer(end, addresses);
    };
    await verify('root_undefined_ra', [1, 2, 3]);
    await verify('stack_end', [1, 2]);
    await verify('register_unknown', [1, 2]);
    await verify('root_undefined_ra', [1, 5, 3]);
    await verify('root_undefined_ra', [1, 2]);
    assert.deepEqual(recovery.verdicts, { equal: 1, partial: 1, undecided: 1, mismatch: 2 });
    assert.deepEqual(
      mismatches.map(({ at }) => at),
      [1, 2],
    );
    assert.equal(settled.length, 0);
    assert.deepEqual(failures(), {});
  });

  it('finishes a cut walk that was to be verified, from its leaf', async () => {
    take('tail_call_limit', [1, 2, 3], { isLeaf: true, frame: 0 });
    await walker.answer('root_undefined_ra', [1, 2, 3, 4]);
    assert.deepEqual([...settled[0].stack.user], [1, 2, 3, 4]);
    assert.equal(recovery.recovered, 1);
  });

  it('spills after the reasons that the list says', () => {
    const spilled = reasons.filter(({ name }) => {
      const stack = stackOf(name, [1]);
      recovery.addSpill(spillOf());
      return recovery.addSample(headOf(stack), stack);
    });
    assert.ok(spilled.every(({ outcome }) => outcome === 'truncated'));
    const names = spilled.map(({ name }) => name as string);
    for (const name of ['tail_call_limit', 'process_unknown', 'no_mapping', 'unsupported_rule', 'no_unwind_info'])
      assert.ok(names.includes(name), name);
    for (const name of ['frame_limit', 'read_fault', 'compat_32bit']) assert.ok(!names.includes(name), name);
  });
});
