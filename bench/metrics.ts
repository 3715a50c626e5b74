// SPDX-License-Identifier: Apache-2.0
/** How long an agent takes to answer /metrics, by the number of workloads on its node; each has samples of every reason. */
import { manyWorkloads } from '../packages/agent/src/many-workloads.fixture.ts';
import { median, type Table } from './table.ts';

/** The default of agent.metrics.maxWorkloadSeries. */
const MAX_SERIES = 4000;

export async function benchMetrics(brief: boolean): Promise<Table> {
  const rows: string[][] = [];
  for (const workloads of [10, 100, 500, 2000]) {
    const server = await manyWorkloads(workloads, MAX_SERIES);
    const times: number[] = [];
    let text = '';
    for (let i = 0; i < (brief ? 5 : 40); i++) {
      const begun = performance.now();
      text = await (await fetch(`http://${server.address}/metrics`)).text();
      times.push(performance.now() - begun);
    }
    await server.close();
    const series = text.split('\n').filter((line) => line !== '' && !line.startsWith('#')).length;
    rows.push([
      `${workloads}`,
      `${series}`,
      `${Math.round(text.length / 1024)} KiB`,
      `${median(times).toFixed(0)} ms`,
      `${Math.max(...times).toFixed(0)} ms`,
    ]);
  }
  return {
    title: 'Answering /metrics',
    command: 'make bench (case metrics)',
    head: ['workloads', 'series', 'size', 'time, median', 'slowest'],
    rows,
    notes: [
      `By default ${MAX_SERIES} series by workload at most (agent.metrics.maxWorkloadSeries); further workloads are counted as one.`,
    ],
  };
}
