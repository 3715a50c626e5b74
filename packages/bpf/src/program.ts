// SPDX-License-Identifier: Apache-2.0
/** Loaded programs, and where they hang. */
import { type LinkHandle, native, type ProgramHandle, type ProgramInfo } from './native.ts';
import type { PerfEvent } from './perf-event.ts';

export interface TestRunOptions {
  /** What the program sees as its context, where its type allows to give one. */
  context?: Uint8Array;
  data?: Uint8Array;
  /** Receives the data as the program leaves it. */
  dataOut?: Uint8Array;
  repeat?: number;
  /** BPF_F_TEST_*. */
  flags?: number;
}

export class BpfProgram {
  readonly name: string;
  /** As compiled, in slots of 8 bytes after the verifier's rewriting. */
  readonly instructions: number;
  readonly #handle: ProgramHandle;

  constructor(name: string, handle: ProgramHandle) {
    this.name = name;
    this.#handle = handle;
    this.instructions = native().programInfo(handle).instructions;
  }

  /** For a PROG_ARRAY or a system call; stays valid until `close`. */
  get fd(): number {
    return native().fileDescriptor(this.#handle);
  }

  /** Run times are those measured while statistics were enabled (`enableRunTimeStatistics`). */
  info(): ProgramInfo {
    return native().programInfo(this.#handle);
  }

  /**
   * @param tracepoint its name, e.g. `sched_process_exec`; absent for a program that names its target by BTF
   * (`tp_btf/...`)
   */
  attachRawTracepoint(tracepoint?: string): BpfLink {
    return new BpfLink(native().programAttachRawTracepoint(this.#handle, tracepoint ?? null));
  }

  /**
   * Runs the program at each overflow of the event. The event stays the caller's, to enable and to close.
   * @param cookie what `bpf_get_attach_cookie` answers; kernel 5.15
   */
  attachPerfEvent(event: PerfEvent, cookie = 0n): BpfLink {
    return new BpfLink(native().programAttachPerfEvent(this.#handle, event.handle, cookie));
  }

  /**
   * Runs the program once, or `repeat` times, on given input.
   * @throws BpfError `ENOTSUPP` where its type cannot be run so
   */
  testRun(options: TestRunOptions = {}): { returnValue: number; durationNs: number; dataLength: number } {
    const { context = null, data = null, dataOut = null, repeat = 0, flags = 0 } = options;
    return native().programTestRun(this.#handle, context, data, dataOut, repeat, flags);
  }

  /** Gives up this hold on the program; links and other programs may keep it loaded. */
  close(): void {
    native().close(this.#handle);
  }
}

/** Holds a program where it hangs. */
export class BpfLink {
  readonly #handle: LinkHandle;

  constructor(handle: LinkHandle) {
    this.#handle = handle;
  }

  get fd(): number {
    return native().fileDescriptor(this.#handle);
  }

  /** Detaches the program. Before kernel 5.15 a program stays on its perf event, which is disabled instead. */
  close(): void {
    native().close(this.#handle);
  }
}

/**
 * Lets the kernel measure the run time of all BPF programs (some 20 ns a run) until the answer's `close` is called.
 * Kernel 5.8, commit d46edd671a14.
 */
export function enableRunTimeStatistics(): { close(): void } {
  const handle = native().enableStats();
  return { close: () => native().close(handle) };
}
