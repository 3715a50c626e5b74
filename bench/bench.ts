// SPDX-License-Identifier: Apache-2.0
/**
 * The figures of docs/performance.md.
 *
 *   node bench/bench.ts [--brief] [--write] [case...]
 *
 * Cases: walk, unwind-table, drain, agent, export-size, metrics, operator. `--brief` takes minutes less and says less;
 * `--write` puts the tables into docs/performance.md, each in the place of its title.
 */
import { benchAgentCost } from './agent-cost.ts';
import { benchDrain } from './drain.ts';
import { benchExportSize } from './export-size.ts';
import { machine } from './machine.ts';
import { benchMetrics } from './metrics.ts';
import { benchOperatorScale } from './operator-scale.ts';
import { asText, type Table } from './table.ts';
import { benchUnwindTable } from './unwind-table.ts';
import { benchWalk } from './walk.ts';
import { writeTable } from './write-table.ts';

const cases: Readonly<Record<string, (brief: boolean) => Promise<Table>>> = {
  walk: benchWalk,
  'unwind-table': benchUnwindTable,
  drain: benchDrain,
  agent: benchAgentCost,
  'export-size': benchExportSize,
  metrics: benchMetrics,
  operator: benchOperatorScale,
};

const flags = process.argv.slice(2).filter((word) => word.startsWith('--'));
const wanted = process.argv.slice(2).filter((word) => !word.startsWith('--'));
const unknown = [
  ...wanted.filter((name) => !(name in cases)),
  ...flags.filter((flag) => !['--brief', '--write'].includes(flag)),
];
if (unknown.length > 0) {
  console.error(
    `bench: unknown: ${unknown.join(', ')}; cases are ${Object.keys(cases).join(', ')}, flags --brief and --write`,
  );
  process.exit(2);
}
const brief = flags.includes('--brief');
const what = `${machine()}${brief ? ', brief run' : ''}`;
console.log(what);
for (const [name, measure] of Object.entries(cases)) {
  if (wanted.length > 0 && !wanted.includes(name)) continue;
  const table = await measure(brief);
  console.log(asText(table));
  if (flags.includes('--write')) writeTable(table, what);
}
process.exit(0);
