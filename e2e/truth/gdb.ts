// SPDX-License-Identifier: Apache-2.0
/** gdb's unwinder, asked through its Python interface for the frames proper (inlined calls are no frames). */
import { spawnSync } from 'node:child_process';
import type { UnwoundFrame, UnwoundStack } from './eu-stack.ts';

/** Prints one line a thread: "@stack TID STOP-REASON", then "@frame ADDRESS TYPE NAME" for each frame. */
const SCRIPT = `
import gdb
for thread in sorted(gdb.selected_inferior().threads(), key=lambda t: t.num):
    thread.switch()
    frame = gdb.newest_frame()
    frames = []
    reason = ""
    while frame is not None:
        if frame.type() != gdb.INLINE_FRAME:
            frames.append("@frame %x %d %s" % (frame.pc(), frame.type(), frame.name() or ""))
        reason = "" if frame.unwind_stop_reason() in (gdb.FRAME_UNWIND_NO_REASON, gdb.FRAME_UNWIND_OUTERMOST) else gdb.frame_stop_reason_string(frame.unwind_stop_reason())
        try:
            frame = frame.older()
        except gdb.error as error:
            reason = str(error)
            break
    print("@stack %d %s" % (thread.ptid[1], reason))
    print("\\n".join(frames))
`;

const SIGTRAMP_FRAME = 4; // enum frame_type of gdb's frame.h, as gdb.SIGTRAMP_FRAME gives it

/** Parses what SCRIPT prints. */
export function parseGdb(text: string): UnwoundStack[] {
  const stacks: { tid: number; frames: UnwoundFrame[]; gaveUp?: string }[] = [];
  let isInterrupted = true; // the frame outside a signal trampoline was interrupted, as the leaf was
  for (const line of text.split('\n')) {
    const thread = /^@stack (\d+) ?(.*)$/.exec(line);
    if (thread) {
      stacks.push({ tid: Number(thread[1]), frames: [], gaveUp: thread[2] || undefined });
      isInterrupted = true;
      continue;
    }
    const frame = /^@frame ([0-9a-f]+) (\d+) (.*)$/.exec(line);
    const stack = stacks.at(-1);
    if (!frame || !stack || frame[1] === '0') continue; // a return address of zero is the end, not a frame
    const isTrampoline = Number(frame[2]) === SIGTRAMP_FRAME;
    stack.frames.push({
      address: BigInt(`0x${frame[1]}`),
      exact: isInterrupted || isTrampoline,
      name: frame[3] || undefined,
    });
    isInterrupted = isTrampoline;
  }
  return stacks;
}

/** The stacks of all threads of a process, which is stopped meanwhile. */
export function gdb(pid: number): UnwoundStack[] {
  const settings = ['set debuginfod enabled off', 'set auto-load off', 'set width 0', 'set height 0'];
  const unlimited = ['set backtrace limit 0', 'set backtrace past-main on', 'set backtrace past-entry on'];
  const args = ['-nx', '-nh', '-batch'];
  for (const setting of settings) args.push('-iex', setting);
  args.push('-p', `${pid}`);
  for (const setting of unlimited) args.push('-ex', setting);
  args.push('-ex', `python exec(${JSON.stringify(SCRIPT)})`);
  const { stdout, stderr, error } = spawnSync('gdb', args, { encoding: 'utf8', timeout: 120_000, maxBuffer: 1 << 28 });
  if (error) throw error;
  const stacks = parseGdb(stdout);
  if (stacks.length === 0) throw new Error(`gdb -p ${pid}: ${stderr.trim() || 'no thread'}`);
  return stacks;
}
