// SPDX-License-Identifier: Apache-2.0
/**
 * A test of any stack, of any program: a return address is one that a call instruction has left, so that there must be one
 * right before it. A wrong frame nearly always fails this.
 */
import { closeSync, openSync, readSync } from 'node:fs';
import { plainName } from './compare.ts';
import { functionsAt } from './elf-symbols.ts';
import type { RecordedFrame } from './recording.ts';

/** Bytes that a memory operand takes: ModR/M itself, a SIB byte, a displacement. */
function operandLength(modrm: number, sib: number): number {
  const mod = modrm >> 6;
  const rm = modrm & 7;
  if (mod === 3) return 1;
  const hasSib = rm === 4;
  const isBaseless = mod === 0 && (rm === 5 || (hasSib && (sib & 7) === 5));
  const displacement = isBaseless || mod === 2 ? 4 : mod === 1 ? 1 : 0;
  return 1 + (hasSib ? 1 : 0) + displacement;
}

/** Whether `code`, the bytes right before a return address, ends in an x86-64 call: `call rel32` or `call r/m64`. */
export function endsInCall(code: Uint8Array): boolean {
  const end = code.length;
  if (end >= 5 && code[end - 5] === 0xe8) return true;
  for (let length = 2; length <= 7 && length <= end; length++) {
    const at = end - length;
    const modrm = code[at + 1];
    const isCall = code[at] === 0xff && ((modrm >> 3) & 7) === 2; // opcode FF /2
    if (isCall && 1 + operandLength(modrm, code[at + 2]) === length) return true;
  }
  return false;
}

/** Functions that are returned to without having called: the system, or the runtime, laid the return address down. */
const LAID_DOWN: readonly string[] = [
  '__restore_rt', // signal frames
  'restore_rt',
  '__start_context', // makecontext
  'runtime.goexit', // the bottom of each goroutine
  'runtime.sigreturn__sigaction',
];

/** Functions that the runtime has a signal handler return to, as if the interrupted instruction had called them. */
const INJECTED: readonly string[] = ['runtime.asyncPreempt', 'runtime.sigpanic'];

/** Builtins whose beginning V8 lays down as the return address of frames that it makes out of one of optimized code. */
const DEOPTIMIZED = /^Builtins_(InterpreterEnterAt|BaselineOrInterpreterEnterAt|ContinueTo|RestartFrame)/;

const descriptors = new Map<string, number | undefined>();

function descriptorOf(path: string): number | undefined {
  if (!descriptors.has(path)) {
    try {
      descriptors.set(path, openSync(path, 'r'));
    } catch {
      descriptors.set(path, undefined);
    }
  }
  return descriptors.get(path);
}

/** Closes the files that were read. */
export function closeFiles(): void {
  for (const descriptor of descriptors.values()) if (descriptor !== undefined) closeSync(descriptor);
  descriptors.clear();
}

/** mov $15, %rax; syscall: rt_sigreturn. */
const SIGRETURN = Buffer.from('48c7c00f0000000f05', 'hex');

/** The first return address without a call before it; undefined: none. Frames outside readable files are passed over. */
export function withoutCallSite(stack: readonly RecordedFrame[]): RecordedFrame | undefined {
  const bytes = Buffer.alloc(7);
  return stack.find(({ exact, name, file, fileOffset, fileAddress }, i) => {
    if (exact || file === undefined || fileOffset === undefined) return false;
    if (name !== undefined && LAID_DOWN.includes(plainName(name))) return false;
    if (INJECTED.includes(plainName(stack[i - 1]?.name ?? ''))) return false;
    const descriptor = descriptorOf(file);
    if (descriptor === undefined) return false;
    const end = Number(fileOffset) + 1; // the offset is that of the call's last byte
    const start = Math.max(0, end - bytes.length);
    const length = readSync(descriptor, bytes, 0, end - start, start);
    if (length !== end - start || endsInCall(bytes.subarray(0, length))) return false;
    // The kernel lays the address of the signal trampoline down itself; in a stripped libc it has no name.
    const code = Buffer.alloc(SIGRETURN.length);
    if (readSync(descriptor, code, 0, code.length, end) === code.length && code.equals(SIGRETURN)) return false;
    return fileAddress === undefined || !functionsAt(file, fileAddress + 1n).some((name) => DEOPTIMIZED.test(name));
  });
}
