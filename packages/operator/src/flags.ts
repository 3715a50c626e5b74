// SPDX-License-Identifier: Apache-2.0
/** Command line of the operator. */
import { parseArgs } from 'node:util';
import { OtlpExport } from '@plumbline/api';
import { LOG_LEVELS, type LogLevel } from './log.ts';
import type { Limits } from './merge/rule.ts';

export interface Flags {
  kubeconfig: string | undefined;
  namespace: string | undefined;
  leaderElect: boolean;
  leaseName: string;
  host: string;
  port: number;
  qps: number;
  burst: number;
  workers: number;
  logLevel: LogLevel;
  limits: Limits;
}

/** A flag that cannot be used; the message says what may stand there. */
export class FlagError extends Error {
  override readonly name = 'FlagError';
}

/** What holds where a flag is not given. */
export const DEFAULTS = {
  namespace: 'plumbline',
  leaseName: 'plumbline-operator',
  http: '0.0.0.0:7118',
  qps: 40,
  burst: 80,
  workers: 16,
  maxFrequencyHz: 997,
  maxCpuPercent: 100,
  logLevel: 'info',
} as const;

export const HELP = `plumbline-operator: ProfilingPolicies to every node, and back what became of them.

Usage: plumbline-operator [flags]

  --kubeconfig FILE             Access to the cluster. Default: the pod's service account, else $KUBECONFIG.
  --namespace NAME              Namespace of the Lease. Default: that of the pod, else "${DEFAULTS.namespace}".
  --no-leader-elect             This is the only replica.
  --lease-name NAME             Default: ${DEFAULTS.leaseName}
  --http HOST:PORT              /healthz, /readyz, /metrics, and a page at /. Default: ${DEFAULTS.http}
  --qps N                       Requests per second to the API server. Default: ${DEFAULTS.qps}
  --burst N                     Requests at once. Default: ${DEFAULTS.burst}
  --workers N                   Node objects written at a time. Default: ${DEFAULTS.workers}
  --max-frequency-hz N          Policies get at most this frequency. Default: ${DEFAULTS.maxFrequencyHz}
  --max-cpu-percent N           Policies get at most this budget, in percent of a node. Default: ${DEFAULTS.maxCpuPercent}
  --default-otlp-endpoint H:P   Where profiles go when a policy does not say. Default: nowhere
  --default-otlp-protocol P     grpc or http. Default: grpc
  --cluster-name NAME           Resource attribute k8s.cluster.name of all profiles.
  --log-level LEVEL             ${LOG_LEVELS.join(', ')}. Default: ${DEFAULTS.logLevel}
  --version, --help

Traces of reconciles go where OTEL_EXPORTER_OTLP_ENDPOINT says, if it is set.
`;

/** What --help and --version ask for, or the flags. Throws {@link FlagError}. */
export function parseFlags(args: readonly string[]): Flags | 'help' | 'version' {
  const values = rawFlags(args);
  if (values.help) return 'help';
  if (values.version) return 'version';
  const [, host, port] = /^(.*):(\d+)$/.exec(values.http ?? DEFAULTS.http) ?? [];
  if (host === undefined || Number(port) > 65_535) throw new FlagError(`--http ${values.http}: must be HOST:PORT`);
  const logLevel = (values['log-level'] ?? DEFAULTS.logLevel) as LogLevel;
  if (!LOG_LEVELS.includes(logLevel))
    throw new FlagError(`--log-level ${logLevel}: must be one of ${LOG_LEVELS.join(', ')}`);
  const clusterName = values['cluster-name'];
  return {
    kubeconfig: values.kubeconfig,
    namespace: values.namespace,
    leaderElect: !values['no-leader-elect'],
    leaseName: values['lease-name'] ?? DEFAULTS.leaseName,
    host: host.replace(/^\[(.*)\]$/, '$1'),
    port: Number(port),
    qps: numberFlag(values, 'qps', DEFAULTS.qps, 1, 1_000),
    burst: numberFlag(values, 'burst', DEFAULTS.burst, 1, 10_000),
    workers: numberFlag(values, 'workers', DEFAULTS.workers, 1, 256),
    logLevel,
    limits: {
      maxFrequencyHz: numberFlag(values, 'max-frequency-hz', DEFAULTS.maxFrequencyHz, 1, 997),
      maxCpuPercentOfNode: numberFlag(values, 'max-cpu-percent', DEFAULTS.maxCpuPercent, 0.001, 100),
      defaultExport: defaultExport(values),
      resourceAttributes: clusterName ? { 'k8s.cluster.name': clusterName } : {},
    },
  };
}

function rawFlags(args: readonly string[]) {
  const text = { type: 'string' } as const;
  const flag = { type: 'boolean' } as const;
  try {
    return parseArgs({
      args: [...args],
      options: {
        kubeconfig: text,
        namespace: text,
        'no-leader-elect': flag,
        'lease-name': text,
        http: text,
        qps: text,
        burst: text,
        workers: text,
        'max-frequency-hz': text,
        'max-cpu-percent': text,
        'default-otlp-endpoint': text,
        'default-otlp-protocol': text,
        'cluster-name': text,
        'log-level': text,
        version: flag,
        help: flag,
      },
    }).values;
  } catch (error) {
    throw new FlagError((error as Error).message);
  }
}

type Raw = ReturnType<typeof rawFlags>;

function numberFlag(values: Raw, name: keyof Raw & string, otherwise: number, min: number, max: number): number {
  const text = values[name];
  if (text === undefined) return otherwise;
  const value = Number(text);
  if (text === '' || !(value >= min && value <= max))
    throw new FlagError(`--${name} ${text}: must be a number from ${min} to ${max}`);
  return value;
}

function defaultExport(values: Raw) {
  const endpoint = values['default-otlp-endpoint'];
  const protocol = values['default-otlp-protocol'];
  if (!endpoint) {
    if (protocol !== undefined) throw new FlagError('--default-otlp-protocol needs --default-otlp-endpoint');
    return undefined;
  }
  const parsed = OtlpExport.safeParse({ endpoint, ...(protocol !== undefined && { protocol }) });
  if (!parsed.success) throw new FlagError(`--default-otlp-endpoint ${endpoint}: ${parsed.error.issues[0].message}`);
  return parsed.data;
}
