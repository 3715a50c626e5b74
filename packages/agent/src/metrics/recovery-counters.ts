// SPDX-License-Identifier: Apache-2.0
/** Shows what became of spilled walks as metrics. Declared by shape: session and recovery have the figures. */
import type { AgentMetrics } from './registry.ts';

export interface RecoveryCounts {
  readonly spills: {
    readonly sent: number;
    readonly limited: number;
    readonly refused: number;
    readonly unread: number;
  };
  readonly recovered: number;
  readonly failures: ReadonlyMap<string, number>;
  readonly verdicts: Readonly<Record<string, number>> & { readonly mismatch: number };
  readonly pendingBytes: number;
}

/** @param read undefined while nothing is profiled */
export function mirrorRecovery(metrics: AgentMetrics, read: () => RecoveryCounts | undefined): void {
  metrics.mirror('spills', () => {
    const { spills } = read() ?? {};
    if (!spills) return [];
    const { sent, limited, refused, unread } = spills;
    return Object.entries({ sent, rate_limited: limited, ring_full: refused, unreadable: unread }).map(
      ([result, value]) => ({ labels: { result }, value }),
    );
  });
  metrics.mirror('recoveries', () => {
    const { recovered = 0, failures = [] } = read() ?? {};
    return [['recovered', recovered] as const, ...failures].map(([result, value]) => ({ labels: { result }, value }));
  });
  metrics.mirror('recoveryPendingBytes', () => [{ labels: {}, value: read()?.pendingBytes ?? 0 }]);
  metrics.mirror('verifications', () =>
    Object.entries(read()?.verdicts ?? {}).map(([verdict, value]) => ({ labels: { verdict }, value })),
  );
  metrics.mirror('verificationMismatches', () => [{ labels: {}, value: read()?.verdicts.mismatch ?? 0 }]);
}
