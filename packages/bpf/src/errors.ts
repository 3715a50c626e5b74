// SPDX-License-Identifier: Apache-2.0
/**
 * The one error class of this package. Mistakes of the caller are TypeError and RangeError; everything that the
 * kernel, libbpf or the machine refuses is a BpfError with the advice that a person needs.
 */
import { readFileSync } from 'node:fs';
import { getSystemErrorMap } from 'node:util';

export interface BpfErrorOptions {
  /** What was tried, as a person would say it: `load program sample`. */
  operation: string;
  /** Positive; 0 or absent if no system call failed. */
  errno?: number;
  /** Absent: the name of the errno, e.g. `EPERM`. */
  code?: string;
  /** What went wrong, where errno does not say it. */
  detail?: string;
  /** The verifier's log of the program that was refused. */
  verifierLog?: string;
  /** Warnings that libbpf printed meanwhile. */
  libbpfLog?: string;
}

/**
 * `code` is the errno's name (`EPERM`, `EINVAL`, ...) or one of
 * `BTF_MALFORMED` (type information cannot be read), `ADDON_MISSING` (the native part is not built),
 * `LIBBPF_<n>` (a condition of libbpf's own), `CLOSED` (the thing was closed before).
 */
export class BpfError extends Error {
  override readonly name = 'BpfError';
  readonly code: string;
  readonly errno: number;
  readonly operation: string;
  readonly verifierLog: string;
  readonly libbpfLog: string;
  /** One sentence: what to do about it; empty where nothing general can be said. */
  readonly advice: string;

  constructor({ operation, errno = 0, code, detail, verifierLog = '', libbpfLog = '' }: BpfErrorOptions) {
    const errnoCode = code ?? errnoName(errno);
    const advice = advise({ operation, errno, code: errnoCode, detail, verifierLog, libbpfLog });
    const reason = detail ?? lastLine(verifierLog) ?? errnoMessage(errno);
    super(`${operation}: ${reason} (${errnoCode})${advice && `; ${advice}`}`);
    this.code = errnoCode;
    this.errno = errno;
    this.operation = operation;
    this.verifierLog = verifierLog;
    this.libbpfLog = libbpfLog;
    this.advice = advice;
  }
}

/** Kernel-internal numbers that reach user space from BPF and perf, and so have no name in the C library. */
const INTERNAL_ERRNO: Record<number, [name: string, message: string]> = {
  512: ['ERESTARTSYS', 'interrupted'],
  524: ['ENOTSUPP', 'operation is not supported by this kernel'],
};
/** LIBBPF_ERRNO__START of libbpf_legacy.h. */
const LIBBPF_ERRNO = 4000;

function errnoEntry(errno: number): [name: string, message: string] | undefined {
  return INTERNAL_ERRNO[errno] ?? getSystemErrorMap().get(-errno);
}

function errnoName(errno: number): string {
  if (errno >= LIBBPF_ERRNO) return `LIBBPF_${errno}`;
  return errnoEntry(errno)?.[0] ?? `E${errno}`;
}

function errnoMessage(errno: number): string {
  return errnoEntry(errno)?.[1] ?? (errno >= LIBBPF_ERRNO ? 'libbpf cannot use the object' : `error ${errno}`);
}

/** Last line of a verifier log that says something: the statistics at its end do not. */
function lastLine(log: string): string | undefined {
  const lines = log
    .split('\n')
    .filter((line) => line.trim() !== '' && !/^(processed \d+ insns|verification time|stack depth)/.test(line));
  return lines.at(-1)?.trim();
}

/** Capabilities that BPF and perf look at, by their bit (include/uapi/linux/capability.h). */
export const CAPABILITIES = {
  CAP_DAC_READ_SEARCH: 2,
  CAP_IPC_LOCK: 14,
  CAP_SYS_PTRACE: 19,
  CAP_SYS_ADMIN: 21,
  CAP_SYS_RESOURCE: 24,
  CAP_SYSLOG: 34,
  CAP_PERFMON: 38,
  CAP_BPF: 39,
  CAP_CHECKPOINT_RESTORE: 40,
} as const;

export type Capability = keyof typeof CAPABILITIES;

/** Those of `CAPABILITIES` that this process has in its effective set. */
export function effectiveCapabilities(): Set<Capability> {
  const hex = /^CapEff:\s*([0-9a-f]+)/m.exec(readText('/proc/self/status'))?.[1] ?? '0';
  const bits = BigInt(`0x${hex}`);
  const names = Object.keys(CAPABILITIES) as Capability[];
  return new Set(names.filter((name) => (bits >> BigInt(CAPABILITIES[name])) & 1n));
}

/** `none`, `integrity` or `confidentiality`; the last forbids BPF to read kernel memory. */
export function lockdownMode(): 'none' | 'integrity' | 'confidentiality' {
  const mode = /\[(\w+)\]/.exec(readText('/sys/kernel/security/lockdown'))?.[1];
  return mode === 'integrity' || mode === 'confidentiality' ? mode : 'none';
}

/** Content of a small file of /proc or /sys; empty if it cannot be read. */
function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

function missingCapabilities(): string | undefined {
  const held = effectiveCapabilities();
  if (held.has('CAP_SYS_ADMIN')) return undefined;
  const missing = (['CAP_BPF', 'CAP_PERFMON'] as const).filter((name) => !held.has(name));
  return missing.length ? `run as root, or give the process ${missing.join(' and ')}` : undefined;
}

function advise(error: Required<Pick<BpfErrorOptions, 'operation' | 'errno'>> & BpfErrorOptions): string {
  const { code, operation, detail = '', libbpfLog = '', verifierLog = '' } = error;
  if (code === 'ADDON_MISSING' && /shared object file|version `/.test(detail)) {
    return 'install libbpf1, libelf1 and zlib1g of this system, and build the addon on it';
  }
  if (code === 'ADDON_MISSING') return 'build it with `pnpm --filter @plumbline/bpf build:addon`';
  if (/failed to find valid kernel BTF|Error loading vmlinux BTF|kernel BTF is missing/.test(libbpfLog)) {
    return 'the kernel has no BTF (CONFIG_DEBUG_INFO_BTF); boot one that has, or give `btfPath`, a BTF file made for this kernel';
  }
  if (code === 'EPERM' || code === 'EACCES') {
    if (/run-time statistics/.test(operation) && !effectiveCapabilities().has('CAP_SYS_ADMIN')) {
      return 'give CAP_SYS_ADMIN, or set kernel.bpf_stats_enabled to 1';
    }
    const missing = missingCapabilities();
    if (missing) return missing;
    if (lockdownMode() === 'confidentiality')
      return 'kernel lockdown is in confidentiality mode, which forbids BPF and perf to read memory';
    if (/^mmap .*perf/.test(operation))
      return 'raise kernel.perf_event_mlock_kb, use smaller rings, or give CAP_IPC_LOCK';
    if (/^perf_event_open/.test(operation)) return 'set kernel.perf_event_paranoid to 1 or lower, or give CAP_PERFMON';
    if (code === 'EPERM' && /^(create map|load)/.test(operation)) {
      return 'kernels before 5.11 count BPF memory against RLIMIT_MEMLOCK: raise it (ulimit -l unlimited) or give CAP_SYS_RESOURCE';
    }
    if (verifierLog) return 'the verifier refused the program; `verifierLog` says why';
  }
  if (verifierLog) return 'the verifier refused the program; `verifierLog` says why';
  if (code === 'EMFILE') return 'raise the limit of open files (ulimit -n)';
  if (code === 'ENOMEM')
    return 'not enough memory for it: make the maps smaller, or raise the memory limit of the cgroup';
  if (code === 'ENOSYS')
    return 'the kernel is built without it (CONFIG_BPF_SYSCALL, CONFIG_PERF_EVENTS), or a seccomp filter hides it';
  if (/^perf_event_open/.test(operation) && (code === 'ENOENT' || code === 'EOPNOTSUPP')) {
    return 'this machine does not offer the event (virtual machines often have no hardware counters); use the CPU clock';
  }
  return '';
}
