// SPDX-License-Identifier: Apache-2.0
/** What an interval tells of the agent's own state: differences of counters that only grow. */
import { reasons } from '@plumbline/bpf';
import type { Destination } from './exports.ts';
import type { IntervalHealth } from './kubernetes/degradation.ts';
import type { KernelCounters } from './session/session.ts';

export type { IntervalHealth };

const DROPPED = reasons.filter(({ outcome }) => outcome === 'dropped').map(({ name }) => name);

export class IntervalHealthMeter {
  #fired = 0;
  #dropped = 0;
  #sent = new Map<string, number>();

  read(
    { fired, byReason }: KernelCounters,
    destinations: readonly Destination[],
    frequency: Pick<IntervalHealth, 'frequencyHz' | 'wantedFrequencyHz' | 'budgetExhausted'>,
  ): IntervalHealth {
    const dropped = DROPPED.reduce((sum, reason) => sum + (byReason[reason] ?? 0), 0);
    const before = { fired: this.#fired, dropped: this.#dropped, sent: this.#sent };
    const senders = destinations.flatMap(({ name, exporter }) =>
      'statistics' in exporter ? [{ name, of: exporter.statistics }] : [],
    );
    this.#fired = fired;
    this.#dropped = dropped;
    this.#sent = new Map(senders.map(({ name, of }) => [name, of.requestsSent]));
    return {
      ...frequency,
      fired: since(before.fired, fired),
      dropped: since(before.dropped, dropped),
      exports: senders.map(({ name, of }) => ({
        name,
        queued: of.queued,
        sent: since(before.sent.get(name) ?? 0, of.requestsSent),
      })),
    };
  }
}

/** A counter that is lower than before began anew: with another profiler or sender. */
function since(before: number, now: number): number {
  return now >= before ? now - before : now;
}
