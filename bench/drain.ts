// SPDX-License-Identifier: Apache-2.0
/** How many samples a second come through the ring and the pipeline without loss. */
import { setTimeout as delay } from 'node:timers/promises';
import { silentLogger } from '../packages/agent/src/log.ts';
import { Profiler } from '../packages/agent/src/profiler.ts';
import type { Table } from './table.ts';
import { startRecursion } from './walk.ts';

export async function benchDrain(brief: boolean): Promise<Table> {
  const rows: string[][] = [];
  const load = await startRecursion(32);
  try {
    for (const frequency of [997, 4_999, 9_973]) {
      const profiler = new Profiler({
        strategy: 'auto',
        defaultPolicy: 1,
        selectPolicy: () => 1,
        describe: () => ({}),
        log: silentLogger,
      });
      try {
        profiler.session.tables.setPolicy(1, { maxFrames: 4096, kernelStacks: true, keep: 1 });
        profiler.processes.scan();
        profiler.processes.flush();
        while (profiler.executables.pending > 0) await delay(10);
        profiler.session.start({ event: 'cpu-clock', frequency });
        const seconds = brief ? 2 : 5;
        const cpu = process.cpuUsage();
        await delay(seconds * 1e3);
        profiler.session.stop();
        await profiler.session.flush();
        const used = process.cpuUsage(cpu);
        const { fired, byReason } = profiler.counters();
        const lost = (byReason.ring_full ?? 0) + (byReason.stack_body_lost ?? 0);
        const arrived = profiler.pipeline.take().reduce((sum, { count }) => sum + count, 0);
        rows.push([
          `${frequency} Hz`,
          `${Math.round(fired / seconds)}`,
          `${Math.round(arrived / seconds)}`,
          `${lost}`,
          `${((used.user + used.system) / 1e3 / Math.max(1, arrived / 1e3)).toFixed(1)} µs`,
        ]);
      } finally {
        await profiler.close();
      }
    }
  } finally {
    await load.stop();
  }
  return {
    title: 'Samples drained',
    command: 'make bench (case drain)',
    head: ['frequency', 'fired a second', 'counted a second', 'lost', 'CPU of the agent per sample'],
    rows,
    notes: [
      'What fired and was not counted had no walk to report: it was of kernel threads, or decided by another counter.',
    ],
  };
}
