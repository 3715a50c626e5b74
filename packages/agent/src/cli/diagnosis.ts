// SPDX-License-Identifier: Apache-2.0
/** What the findings of `plumbline doctor` mean: pure, from what was read and tried to checks with advice. */
import type { KernelReport } from '@plumbline/bpf';
import { kernelLimits } from '../kernel-limits.ts';
import { MAX_USER_FRAMES } from '../recording-options.ts';
import type { ChosenStrategy } from '../strategy-choice.ts';
import { CAPABILITY_USES, holds } from './preflight.ts';

/** `fail`: profiling does not work; `warn`: it works worse; `unknown`: could not be told, mostly for want of rights. */
export type CheckStatus = 'ok' | 'warn' | 'fail' | 'unknown';

export interface Check {
  readonly group: 'permissions' | 'kernel settings' | 'kernel features';
  readonly name: string;
  readonly status: CheckStatus;
  readonly detail: string;
  /** What to do; empty when it is fine or nothing can be done here. */
  readonly remedy: string;
}

/** What was found by loading the profiler itself. */
export type StrategyFinding =
  | ({ readonly loaded: true } & ChosenStrategy)
  | { readonly loaded: false; readonly reason: string; readonly remedy: string };

export interface Findings {
  /** undefined: the addon could not be loaded, `kernelError` says why. */
  readonly kernel: KernelReport | undefined;
  readonly kernelError?: { readonly reason: string; readonly remedy: string };
  readonly strategy: StrategyFinding;
  /** /proc/sys/kernel/kptr_restrict; null where it cannot be read. */
  readonly kptrRestrict: number | null;
  /** Process numbers here are those of the machine. */
  readonly hostPidNamespace: boolean;
}

export interface Diagnosis {
  readonly works: boolean;
  readonly checks: readonly Check[];
  readonly strategy: StrategyFinding;
  /** Frames that the strategy reaches. */
  readonly depth: number;
  readonly newerKernel: readonly { readonly feature: string; readonly since: string; readonly effect: string }[];
}

/** Without these there is no profiling; the others have a substitute. */
const REQUIRED_FEATURES = ['perfEventPrograms', 'btf', 'probeReadUser', 'mmapableArrays', 'ringBuffer'];
/** Chained programs that every kernel runs: the first and 32 tail calls (include/linux/bpf.h: MAX_TAIL_CALL_CNT). */
const CHAINED_PROGRAMS = 33;

export function diagnose(findings: Findings): Diagnosis {
  const { kernel, strategy } = findings;
  const checks = [
    ...(kernel === undefined ? [addonCheck(findings)] : permissionChecks(kernel)),
    namespaceCheck(findings),
    ...(kernel === undefined ? [] : [...settingChecks(kernel, findings.kptrRestrict), ...featureChecks(kernel)]),
  ];
  return {
    works: strategy.loaded && checks.every(({ status }) => status !== 'fail'),
    checks,
    strategy,
    depth: depthOf(strategy),
    newerKernel: missingFeatures(kernel),
  };
}

function depthOf(strategy: StrategyFinding): number {
  if (!strategy.loaded) return 0;
  if (strategy.name !== 'tailCall') return MAX_USER_FRAMES;
  return Math.min(MAX_USER_FRAMES, CHAINED_PROGRAMS * (strategy.selfTest?.framesPerProgram ?? 0));
}

function addonCheck({ kernelError }: Findings): Check {
  const { reason = 'not loaded', remedy = '' } = kernelError ?? {};
  return { group: 'permissions', name: 'native part', status: 'fail', detail: reason, remedy };
}

const ADD_CAPABILITY = 'run as root, or add the capability (in Kubernetes: securityContext.capabilities.add)';

function permissionChecks(kernel: KernelReport): Check[] {
  const held = new Set<string>(kernel.capabilities);
  return CAPABILITY_USES.filter(({ name }) => name !== 'CAP_SYS_RESOURCE').map((capability): Check => {
    const { name, use, required } = capability;
    const base = { group: 'permissions', name } as const;
    if (holds(capability, held)) return { ...base, status: 'ok', detail: `held: ${use}`, remedy: '' };
    return {
      ...base,
      status: required ? 'fail' : 'warn',
      detail: `missing: needed to ${use}`,
      remedy: ADD_CAPABILITY,
    };
  });
}

function namespaceCheck({ hostPidNamespace }: Findings): Check {
  const base = { group: 'permissions', name: 'process numbers' } as const;
  if (hostPidNamespace) return { ...base, status: 'ok', detail: 'those of the machine', remedy: '' };
  return {
    ...base,
    status: 'fail',
    detail: 'those of a PID namespace, but samples carry those of the machine',
    remedy: 'run on the host, or share its namespace (hostPID: true, --pid=host)',
  };
}

function settingChecks(kernel: KernelReport, kptrRestrict: number | null): Check[] {
  const held = new Set<string>(kernel.capabilities);
  const group = 'kernel settings' as const;
  const paranoid = kernel.perfEventParanoid;
  const rate = kernel.perfEventMaxSampleRate;
  const mayPerf = held.has('CAP_PERFMON') || held.has('CAP_SYS_ADMIN');
  const checks: Check[] = [
    kernel.lockdown === 'confidentiality'
      ? {
          group,
          name: 'lockdown',
          status: 'fail',
          detail: 'confidentiality: BPF may not read memory',
          remedy: 'boot with lockdown=integrity or without it',
        }
      : { group, name: 'lockdown', status: 'ok', detail: kernel.lockdown, remedy: '' },
    {
      group,
      name: 'perf_event_paranoid',
      status: mayPerf ? 'ok' : 'fail',
      detail: `${paranoid ?? 'not readable'}${mayPerf ? ', which CAP_PERFMON overrides' : ', and CAP_PERFMON is missing'}`,
      remedy: mayPerf ? '' : ADD_CAPABILITY,
    },
    memlockCheck(kernel, held),
    kernel.jit === false
      ? {
          group,
          name: 'BPF compiler',
          status: 'warn',
          detail: 'off: programs are interpreted, at several times the cost',
          remedy: 'sysctl -w net.core.bpf_jit_enable=1',
        }
      : { group, name: 'BPF compiler', status: 'ok', detail: kernel.jit === null ? 'not readable' : 'on', remedy: '' },
    rate !== null && rate < 1000
      ? {
          group,
          name: 'sample rate',
          status: 'warn',
          detail: `at most ${rate} Hz, lowered by the kernel`,
          remedy: 'sysctl -w kernel.perf_event_max_sample_rate=100000',
        }
      : {
          group,
          name: 'sample rate',
          status: 'ok',
          detail: rate === null ? 'not readable' : `up to ${rate} Hz`,
          remedy: '',
        },
    kernelSymbolCheck(kptrRestrict, held),
    {
      group,
      name: 'hardware cycles',
      status: 'ok',
      detail: kernel.hardwareCycles ? 'available (--event cycles)' : 'none on this machine; the CPU clock is used',
      remedy: '',
    },
  ];
  return checks;
}

function memlockCheck(kernel: KernelReport, held: ReadonlySet<string>): Check {
  const base = { group: 'kernel settings', name: 'memory for BPF' } as const;
  const { supported } = kernel.features.cgroupMemoryAccounting;
  if (supported === null) return { ...base, status: 'unknown', detail: 'could not be tried', remedy: '' };
  if (supported) return { ...base, status: 'ok', detail: 'counted by cgroup; no limit to raise', remedy: '' };
  if (kernel.memlockLimit === null) return { ...base, status: 'ok', detail: 'RLIMIT_MEMLOCK is unlimited', remedy: '' };
  if (held.has('CAP_SYS_RESOURCE'))
    return { ...base, status: 'ok', detail: 'RLIMIT_MEMLOCK is raised at start', remedy: '' };
  return {
    ...base,
    status: 'fail',
    detail: `RLIMIT_MEMLOCK is ${kernel.memlockLimit} bytes`,
    remedy: 'ulimit -l unlimited (LimitMEMLOCK=infinity in a unit), or grant CAP_SYS_RESOURCE',
  };
}

function kernelSymbolCheck(kptrRestrict: number | null, held: ReadonlySet<string>): Check {
  const base = { group: 'kernel settings', name: 'kptr_restrict' } as const;
  const hidden = kptrRestrict === 2 || (kptrRestrict === 1 && !held.has('CAP_SYSLOG'));
  if (!hidden)
    return {
      ...base,
      status: 'ok',
      detail: `${kptrRestrict ?? 'not readable'}: kernel functions have names`,
      remedy: '',
    };
  const remedy = kptrRestrict === 2 ? 'sysctl -w kernel.kptr_restrict=1' : 'grant CAP_SYSLOG';
  return { ...base, status: 'warn', detail: `${kptrRestrict}: kernel functions are shown as addresses`, remedy };
}

function featureChecks(kernel: KernelReport): Check[] {
  return Object.values(kernel.features).map(({ name, supported, since, without, detail = '' }): Check => {
    const base = { group: 'kernel features', name } as const;
    if (supported) return { ...base, status: 'ok', detail: `since ${since}`, remedy: '' };
    if (supported === null) {
      const reason = /\((EPERM|EACCES)\)/.test(detail) ? 'not permitted to try' : `could not be tried: ${detail}`;
      return { ...base, status: 'unknown', detail: reason, remedy: '' };
    }
    const status = REQUIRED_FEATURES.includes(name) ? 'fail' : 'warn';
    return { ...base, status, detail: `missing: ${without}`, remedy: `Linux ${since} or newer has it` };
  });
}

function missingFeatures(kernel: KernelReport | undefined): Diagnosis['newerKernel'] {
  return (kernel ? kernelLimits(kernel) : []).map((limit) => ({ ...limit, effect: `lifts this: ${limit.effect}` }));
}
