// SPDX-License-Identifier: Apache-2.0
/**
 * What this kernel offers, learned by trying: small programs are loaded, maps created, events opened. Kernel versions
 * are documentation only, for distributions carry newer features in older kernels and leave others out.
 */
import { readFileSync } from 'node:fs';
import { release } from 'node:os';
import { type Btf, parseBtf } from './btf.ts';
import { callHelper, RETURN_ZERO } from './bytecode.ts';
import { onlineCpus } from './cpu-events.ts';
import { BpfError, type Capability, effectiveCapabilities, lockdownMode } from './errors.ts';
import { BpfMap, MAP_FLAGS } from './map.ts';
import { native, type ProgramHandle } from './native.ts';
import { PerfEvent } from './perf-event.ts';
import { BpfProgram, enableRunTimeStatistics } from './program.ts';

/** BPF_PROG_TYPE_* */
const SOCKET_FILTER_PROGRAM = 1;
const PERF_EVENT_PROGRAM = 7;
const RAW_TRACEPOINT_PROGRAM = 17;
const KERNEL_BTF = '/sys/kernel/btf/vmlinux';
const PROBE_LOG_SIZE = 64 << 10;

interface Feature {
  /** First kernel release. */
  since: string;
  /** The kernel commit that introduced it. */
  commit: string;
  /** What is done without it. */
  without: string;
  /** True or false; throws what the kernel answers if that says neither. */
  probe: (kernel: Kernel) => boolean;
}

/** Read once for all probes. */
interface Kernel {
  btf: Btf | undefined;
  /** Of `KERNEL_FUNCTIONS`, those that are there. */
  functions: ReadonlySet<string>;
}

/** Names of the one idea by age: the `_impl` forms of 6.18 take an extra argument, those of 7.0 do not. */
const TASK_WORK = ['bpf_task_work_schedule_signal', 'bpf_task_work_schedule_resume'];
const TASK_WORK_IMPL = TASK_WORK.map((name) => `${name}_impl`);
const KERNEL_FUNCTIONS = [...TASK_WORK, ...TASK_WORK_IMPL, 'bpf_iter_num_new'];

export const FEATURES = {
  perfEventPrograms: {
    since: '4.9',
    commit: '0515e5999a46',
    without: 'there are no samples: the agent does not run',
    probe: () => withProgram(PERF_EVENT_PROGRAM, (program) => attaches(program, 0n)),
  },
  rawTracepoints: {
    since: '4.17',
    commit: 'c4f6699dfcb8',
    without: 'processes are learned from the side band alone, so the first samples of a new one may lack its mappings',
    probe: () =>
      withProgram(RAW_TRACEPOINT_PROGRAM, (program) => {
        program.attachRawTracepoint('sched_process_exec').close();
        return true;
      }),
  },
  btf: {
    since: '5.4',
    commit: '341dfcf8d78e',
    without: 'programs cannot be relocated to this kernel: give a BTF file made for it, or the agent does not run',
    probe: ({ btf }) => btf !== undefined,
  },
  probeReadUser: {
    since: '5.5',
    commit: '6ae08ae3dea2',
    without: 'user stacks cannot be read: the agent does not run',
    probe: () => hasHelper(112),
  },
  mmapableArrays: {
    since: '5.5',
    commit: 'fc9702273e2e',
    without: 'unwind tables cannot be written in bulk: the agent does not run',
    probe: () =>
      creates(() =>
        BpfMap.create({ type: 'array', keySize: 4, valueSize: 8, maxEntries: 1, flags: MAP_FLAGS.mmapable }),
      ),
  },
  batchOperations: {
    since: '5.6',
    commit: 'aa2e93b8e58e',
    without: 'map entries are written and read one by one',
    probe: hasBatches,
  },
  ringBuffer: {
    since: '5.8',
    commit: '457f44363a88',
    without: 'there is no way for samples to leave the kernel: the agent does not run',
    probe: () => creates(() => BpfMap.create({ type: 'ringBuffer', keySize: 0, valueSize: 0, maxEntries: 4096 })),
  },
  runTimeStatistics: {
    since: '5.8',
    commit: 'd46edd671a14',
    without: 'the cost of the programs is not measured, so the overhead budget counts user space alone',
    probe: () => {
      enableRunTimeStatistics().close();
      return true;
    },
  },
  cgroupMemoryAccounting: {
    since: '5.11',
    commit: 'd05512618056',
    without: 'maps count against RLIMIT_MEMLOCK, which has to be raised',
    // The helper bpf_ktime_get_coarse_ns came in the same release; the change of accounting itself shows nowhere.
    probe: () => hasHelper(160, SOCKET_FILTER_PROGRAM),
  },
  currentTaskBtf: {
    since: '5.11',
    commit: '3ca1032ab7ab',
    without: 'the task is read word by word through probe reads',
    probe: () => hasHelper(158),
  },
  perfEventLinks: {
    since: '5.15',
    commit: 'b89fbfbb854c',
    without: 'programs hang on the perf event itself and are detached by closing it',
    // A cookie can only be given to a link.
    probe: () => withProgram(PERF_EVENT_PROGRAM, (program) => attaches(program, 1n)),
  },
  taskPtRegs: {
    since: '5.15',
    commit: 'dd6e10fbd9fb',
    without: 'user registers of a task in a system call are read from the top of its kernel stack',
    probe: () => hasHelper(175),
  },
  loop: {
    since: '5.17',
    commit: 'e6f2dd0f8067',
    without: 'stacks are walked by chained tail calls (strategy tailCall), up to 33 of them',
    probe: () => hasHelper(181),
  },
  findVma: {
    since: '5.17',
    commit: '7c7e3d31e785',
    without: 'an address without a known mapping is looked up by the agent',
    probe: () => hasHelper(180),
  },
  numberIterator: {
    since: '6.4',
    commit: '6018e1f407cc',
    without: 'loops use bpf_loop',
    probe: ({ functions }) => functions.has('bpf_iter_num_new'),
  },
  taskWork: {
    since: '6.18',
    commit: '38aa7003e369',
    without: 'stacks are walked in the interrupt, where memory that is paged out cannot be read (no strategy deferred)',
    probe: ({ functions }) => [TASK_WORK, TASK_WORK_IMPL].some((names) => names.every((name) => functions.has(name))),
  },
} satisfies Record<string, Feature>;

export type FeatureName = keyof typeof FEATURES;

export interface FeatureResult {
  name: FeatureName;
  /** null: it could not be told, `detail` says why (mostly: not permitted). */
  supported: boolean | null;
  detail?: string;
  since: string;
  commit: string;
  without: string;
}

export interface KernelReport {
  /** As `uname -r` says. */
  release: string;
  /** Of libbpf, e.g. `1.1`. */
  libbpf: string;
  features: Record<FeatureName, FeatureResult>;
  /** Whether samples can be taken at hardware cycles; machines differ, not kernels. null: not permitted to try. */
  hardwareCycles: boolean | null;
  /** How the kernel calls the functions that schedule work in task context; absent if it has none. */
  taskWorkFunctions?: 'plain' | 'impl';
  /** What of this process BPF and perf look at. */
  capabilities: Capability[];
  lockdown: 'none' | 'integrity' | 'confidentiality';
  /** kernel.perf_event_paranoid; null if it cannot be read. */
  perfEventParanoid: number | null;
  /** kernel.perf_event_mlock_kb: side-band rings, KiB per CPU. */
  perfEventMlockKb: number | null;
  /** kernel.perf_event_max_sample_rate, Hz. */
  perfEventMaxSampleRate: number | null;
  /** Whether programs are compiled to machine code; null if it cannot be read. */
  jit: boolean | null;
  /** Soft limit of locked memory in bytes, which matters without `cgroupMemoryAccounting`; null: unlimited. */
  memlockLimit: number | null;
}

/**
 * Tries everything; takes some 100 ms and leaves nothing behind.
 * @throws BpfError only if the addon cannot be loaded
 */
export function features(): KernelReport {
  native();
  const btf = readKernelBtf();
  const functions = btf?.functionsAmong(KERNEL_FUNCTIONS) ?? new Set<string>();
  const results = (Object.entries(FEATURES) as [FeatureName, Feature][]).map(
    ([name, feature]): [FeatureName, FeatureResult] => {
      const { since, commit, without } = feature;
      return [name, { name, ...tryProbe(() => feature.probe({ btf, functions })), since, commit, without }];
    },
  );
  return {
    release: release(),
    libbpf: native().libbpfVersion(),
    features: Object.fromEntries(results) as Record<FeatureName, FeatureResult>,
    hardwareCycles: tryProbe(hasHardwareCycles).supported,
    taskWorkFunctions: functions.has(TASK_WORK[0]) ? 'plain' : functions.has(TASK_WORK_IMPL[0]) ? 'impl' : undefined,
    capabilities: [...effectiveCapabilities()],
    lockdown: lockdownMode(),
    perfEventParanoid: readNumber('/proc/sys/kernel/perf_event_paranoid'),
    perfEventMlockKb: readNumber('/proc/sys/kernel/perf_event_mlock_kb'),
    perfEventMaxSampleRate: readNumber('/proc/sys/kernel/perf_event_max_sample_rate'),
    jit: booleanOrNull(readNumber('/proc/sys/net/core/bpf_jit_enable')),
    memlockLimit: memlockLimit(),
  };
}

/** A refusal for want of rights says nothing of the feature; any other says that it is missing. */
function tryProbe(probe: () => boolean): { supported: boolean | null; detail?: string } {
  try {
    return { supported: probe() };
  } catch (error) {
    if (!(error instanceof BpfError)) throw error;
    const denied = error.code === 'EPERM' || error.code === 'EACCES';
    return { supported: denied ? null : false, detail: error.message };
  }
}

function readKernelBtf(): Btf | undefined {
  try {
    return parseBtf(readFileSync(KERNEL_BTF));
  } catch {
    return undefined; // no such file, or of a form unknown here: either way it cannot be used
  }
}

/** Loads a program. @throws BpfError if it is refused */
function loadProgram(type: number, instructions: Buffer): ProgramHandle {
  const log = Buffer.alloc(PROBE_LOG_SIZE);
  const loaded = native().programLoadRaw(type, instructions, log, 'GPL');
  if (typeof loaded !== 'number') return loaded;
  throw new BpfError({
    operation: 'load program',
    errno: loaded,
    verifierLog: log.toString('latin1', 0, log.indexOf(0)),
  });
}

function withProgram<T>(type: number, use: (program: BpfProgram) => T): T {
  const program = new BpfProgram('plumbline_probe', loadProgram(type, RETURN_ZERO));
  try {
    return use(program);
  } finally {
    program.close();
  }
}

/** Whether programs of the type may call the helper (FN numbers of include/uapi/linux/bpf.h). */
function hasHelper(helper: number, type = PERF_EVENT_PROGRAM): boolean {
  try {
    native().close(loadProgram(type, callHelper(helper)));
    return true; // it takes no arguments
  } catch (error) {
    if (!(error instanceof BpfError) || error.verifierLog === '') throw error;
    // The rest of the log complains of arguments, which is a yes.
    return !/(invalid|unknown) func|cannot use helper/.test(error.verifierLog);
  }
}

function attaches(program: BpfProgram, cookie: bigint): boolean {
  const event = PerfEvent.open({ event: 'cpuClock', frequencyHz: 1, cpu: onlineCpus()[0] });
  try {
    program.attachPerfEvent(event, cookie).close();
    return true;
  } finally {
    event.close();
  }
}

/** Whether the thing can be made; closes it again. A lack of rights is thrown. */
function creates(create: () => { close(): void }): boolean {
  try {
    create().close();
    return true;
  } catch (error) {
    if (error instanceof BpfError && error.code !== 'EPERM' && error.code !== 'EACCES') return false;
    throw error;
  }
}

function hasHardwareCycles(): boolean {
  return creates(() => PerfEvent.open({ event: 'cpuCycles', frequencyHz: 1, cpu: onlineCpus()[0] }));
}

function hasBatches(): boolean {
  const map = BpfMap.create({ type: 'hash', keySize: 4, valueSize: 4, maxEntries: 2 });
  try {
    return map.hasBatches();
  } finally {
    map.close();
  }
}

function readNumber(path: string): number | null {
  try {
    return Number(readFileSync(path, 'utf8'));
  } catch {
    return null;
  }
}

const booleanOrNull = (value: number | null) => (value === null ? null : value > 0);

function memlockLimit(): number | null {
  const soft = /^Max locked memory\s+(\S+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1];
  return soft === undefined || soft === 'unlimited' ? null : Number(soft);
}
