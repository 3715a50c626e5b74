// SPDX-License-Identifier: Apache-2.0
/** elfutils' unwinder: reads what `eu-stack -a` prints. */
import { spawnSync } from 'node:child_process';

/** A frame by an independent unwinder. */
export interface UnwoundFrame {
  readonly address: bigint;
  /** The frame was interrupted at this address; otherwise it is a return address. */
  readonly exact: boolean;
  readonly name?: string;
}

/** One thread's stack by an independent unwinder. */
export interface UnwoundStack {
  readonly tid: number;
  /** Leaf first. */
  readonly frames: readonly UnwoundFrame[];
  /** What the unwinder said when it gave up before the root. */
  readonly gaveUp?: string;
}

const THREAD = /^TID (\d+)\b/;
/** "#12 0x00007f3e5b2461ca - 1 start_thread": the address, "- 1" for a return address, the name. */
const FRAME = /^#\d+\s+0x([0-9a-f]+)(\s+- 1)?(?:\s+(\S.*)|\s*)$/;

const COMPLAINT = /^eu-stack: .*\btid (\d+)\b.*$/;

/** Parses the output of `eu-stack -a`, standard error behind it: a complaint names the thread that it is about. */
export function parseEuStack(text: string): UnwoundStack[] {
  const stacks: { tid: number; frames: UnwoundFrame[]; gaveUp?: string }[] = [];
  for (const line of text.split('\n')) {
    const thread = THREAD.exec(line);
    if (thread) {
      stacks.push({ tid: Number(thread[1]), frames: [] });
      continue;
    }
    const frame = FRAME.exec(line);
    const stack = stacks.at(-1);
    if (frame && stack) {
      stack.frames.push({
        address: BigInt(`0x${frame[1]}`),
        exact: frame[2] === undefined,
        name: frame[3]?.trim() || undefined,
      });
    } else {
      const complaint = COMPLAINT.exec(line);
      const about = stacks.find(({ tid }) => tid === Number(complaint?.[1]));
      if (about) about.gaveUp = complaint![0];
    }
  }
  return stacks;
}

/** The stacks of all threads of a process, which is stopped meanwhile. Frames without limit. */
export function euStack(pid: number): UnwoundStack[] {
  const { stdout, stderr, error } = spawnSync('eu-stack', ['-a', '-n', '0', '-p', `${pid}`], {
    encoding: 'utf8',
    timeout: 60_000,
    maxBuffer: 1 << 28,
  });
  if (error) throw error;
  const stacks = parseEuStack(`${stdout}\n${stderr}`);
  if (stacks.length === 0) throw new Error(`eu-stack -p ${pid}: ${stderr.trim() || 'no thread'}`);
  return stacks;
}
