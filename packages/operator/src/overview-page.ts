// SPDX-License-Identifier: Apache-2.0
/**
 * The operator's page: which policy does not keep its promise, for which workload and why, and on which nodes. HTML without a
 * script, from what is watched; every replica shows the same. Pure.
 */
import { createHash } from 'node:crypto';
import { ADVICE, findCondition, type Objective, ProfilingPolicySpec } from '@plumbline/api';
import { overviewStyle } from './overview-style.ts';
import type { NodeConfigView, NodePolicyView, PolicyView } from './views.ts';

export interface OverviewData {
  readonly policies: Iterable<PolicyView>;
  readonly configs: Iterable<NodeConfigView>;
}

const REFRESH_SECONDS = 15;
const MAX_NODES = 15;
/** User stacks of a node below which its share says nothing. */
const ENOUGH = 50;

export const OVERVIEW_SECURITY_POLICY = [
  "default-src 'none'",
  `style-src 'sha256-${createHash('sha256').update(overviewStyle).digest('base64')}'`,
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ');

interface PolicyRow {
  readonly name: string;
  readonly status: PolicyView['status'];
  readonly ratio: number | undefined;
  readonly promised: number | undefined;
  /** The objective is missed, by the policy's own condition. */
  readonly isMissed: boolean;
  /** What the condition says, advice included. */
  readonly message: string;
}

export function renderOverview({ policies, configs }: OverviewData): string {
  const rows = [...policies].map(policyRow).sort(worseFirst);
  const nodes = [...configs];
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="refresh" content="${REFRESH_SECONDS}">
<title>Plumbline: ${rows.filter(({ isMissed }) => isMissed).length} policies miss their objective</title>
<style>${overviewStyle}</style>
</head>
<body>
<header><nav><a href="/metrics">Metrics</a></nav><h1>Plumbline, cluster</h1></header>
<main>
${verdict(rows)}
${cards(rows, nodes)}
${policyTable(rows)}
${nodeTable(nodes)}
${kernelTable(nodes)}
</main>
</body>
</html>
`;
}

function policyRow({ name, spec, status }: PolicyView): PolicyRow {
  const parsed = ProfilingPolicySpec.safeParse(spec);
  const objective: Objective | undefined = parsed.success ? parsed.data.objective : undefined;
  const condition = findCondition(status.conditions ?? [], 'ObjectiveMet');
  const accepted = findCondition(status.conditions ?? [], 'Accepted');
  return {
    name,
    status,
    ratio: status.truncation?.ratio === undefined ? undefined : Number(status.truncation.ratio),
    promised: objective && Number(objective.truncatedRatio),
    isMissed: condition?.status === 'False',
    message: accepted?.status === 'False' ? accepted.message : (condition?.message ?? ''),
  };
}

function worseFirst(a: PolicyRow, b: PolicyRow): number {
  return Number(b.isMissed) - Number(a.isMissed) || (b.ratio ?? -1) - (a.ratio ?? -1) || (a.name < b.name ? -1 : 1);
}

/** The answer to "is there a problem, and whose?", in one sentence. */
function verdict(rows: readonly PolicyRow[]): string {
  const [worst] = rows;
  if (!worst) return '<p class="verdict">There is no ProfilingPolicy: nothing is profiled.</p>';
  if (!worst.isMissed) return '<p class="verdict good">No policy misses its objective.</p>';
  const { worstWorkload, topReason, topFile } = worst.status.truncation ?? {};
  const whose = worstWorkload === undefined ? '' : ` <b>${escapeHtml(worstWorkload)}</b> has the most.`;
  const where = topFile === undefined ? '' : ` in ${escapeHtml(topFile)}`;
  const todo = ADVICE[topReason ?? '']?.todo;
  const why =
    topReason === undefined
      ? ''
      : ` Mostly <code>${escapeHtml(topReason)}</code>${where}${todo === undefined ? '' : `: ${escapeHtml(todo)}`}.`;
  return `<p class="verdict bad">Policy <b>${escapeHtml(worst.name)}</b>: ${share(worst.ratio)} of its stacks are cut, it promises at most ${share(worst.promised)}.${whose}${why}</p>`;
}

function cards(rows: readonly PolicyRow[], nodes: readonly NodeConfigView[]): string {
  const missed = rows.filter(({ isMissed }) => isMissed).length;
  const reporting = nodes.filter(({ status }) => status.lastHeartbeat !== undefined);
  const troubled = reporting.filter(({ status }) => status.notReady ?? status.degraded).length;
  const { samples, truncated } = totalOf(nodes);
  const card = (value: string, name: string, isBad = false) =>
    `<div class="card${isBad ? ' bad' : ''}"><b>${value}</b><span>${name}</span></div>`;
  return `<div class="cards">${[
    card(`${missed} of ${rows.length}`, 'policies miss their objective', missed > 0),
    card(samples === 0 ? '–' : share(truncated / samples), 'of stacks are cut'),
    card(`${reporting.length} of ${nodes.length}`, 'nodes with an agent', reporting.length < nodes.length),
    card(String(troubled), 'agents in trouble', troubled > 0),
  ].join('')}</div>`;
}

function policyTable(rows: readonly PolicyRow[]): string {
  if (rows.length === 0) return '';
  const line = ({ name, ratio, promised, isMissed, status, message }: PolicyRow) => {
    const { targeted = 0, applied = 0, failed = 0, notReporting = 0 } = status.nodes ?? {};
    const trouble = [failed > 0 ? `${failed} failed` : '', notReporting > 0 ? `${notReporting} not reporting` : ''];
    const { baselineRatio, worstWorkload = '', topReason = '' } = status.truncation ?? {};
    return `<tr class="${isMissed ? 'bad' : ''}">
<td>${escapeHtml(name)}</td>
<td class="bar">${bar(ratio)}</td>
<td class="number cut">${share(ratio)}</td>
<td class="number">${share(promised)}</td>
<td class="number">${share(baselineRatio === undefined ? undefined : Number(baselineRatio))}</td>
<td>${escapeHtml(worstWorkload)}</td>
<td><code>${escapeHtml(topReason)}</code></td>
<td class="number">${applied} of ${targeted}${trouble
      .filter(Boolean)
      .map((text) => `<br>${text}`)
      .join('')}</td>
<td>${escapeHtml(message)}</td>
</tr>`;
  };
  return `<h2>Policies, worst first</h2>
<table>
<thead><tr><th>policy</th><th>stacks</th><th class="number">cut</th><th class="number">promised</th><th class="number">usual</th><th>worst workload</th><th>top reason</th><th class="number">nodes</th><th>what it says</th></tr></thead>
<tbody>${rows.map(line).join('\n')}</tbody>
</table>`;
}

/** The nodes with the highest share of cut stacks, and those that are in trouble. */
function nodeTable(nodes: readonly NodeConfigView[]): string {
  const rows = nodes
    .map((node) => ({ node, ...totalOf([node]), trouble: node.status.notReady ?? node.status.degraded }))
    .map((row) => ({ ...row, ratio: row.samples < ENOUGH ? 0 : row.truncated / row.samples }))
    .filter(({ ratio, trouble }) => ratio > 0 || trouble)
    .sort((a, b) => Number(Boolean(b.trouble)) - Number(Boolean(a.trouble)) || b.ratio - a.ratio)
    .slice(0, MAX_NODES);
  if (rows.length === 0) return '';
  const line = ({ node, ratio, samples, trouble }: (typeof rows)[number]) => {
    let worst: NodePolicyView | undefined;
    for (const policy of node.status.policies.values()) if (policy.truncated > (worst?.truncated ?? 0)) worst = policy;
    return `<tr class="${trouble ? 'bad' : ''}">
<td>${escapeHtml(node.name)}</td>
<td class="bar">${bar(samples < ENOUGH ? undefined : ratio)}</td>
<td class="number">${samples < ENOUGH ? '' : share(ratio)}</td>
<td>${escapeHtml(worst?.worstWorkload ?? '')}</td>
<td><code>${escapeHtml(worst?.topReason ?? '')}</code></td>
<td>${escapeHtml(`${node.status.strategy ?? '?'}, ${node.status.kernel ?? '?'}`)}</td>
<td>${trouble ? `<b>${escapeHtml(trouble.reason)}</b>: ${escapeHtml(trouble.message)}` : ''}</td>
</tr>`;
  };
  return `<h2>Nodes, worst first</h2>
<table>
<thead><tr><th>node</th><th>stacks</th><th class="number">cut</th><th>worst workload</th><th>top reason</th><th>strategy, kernel</th><th>trouble</th></tr></thead>
<tbody>${rows.map(line).join('\n')}</tbody>
</table>`;
}

/** Nodes by strategy and kernel series, with what a newer kernel would lift. */
function kernelTable(nodes: readonly NodeConfigView[]): string {
  const groups = Map.groupBy(
    nodes.filter(({ status }) => status.lastHeartbeat !== undefined),
    (node) => `${node.status.strategy ?? 'unknown'}\0${node.status.kernelSeries ?? 'unknown'}`,
  );
  if (groups.size === 0) return '';
  const line = ([key, members]: [string, NodeConfigView[]]) => {
    const [strategy, kernel] = key.split('\0');
    const lifts = new Map(members.flatMap(({ status }) => status.kernelLimits).map((limit) => [limit.feature, limit]));
    const text = [...lifts.values()].map(({ feature, since }) => `${feature} (${since})`).join(', ');
    return `<tr><td>${escapeHtml(strategy)}</td><td>${escapeHtml(kernel)}</td><td class="number">${members.length}</td><td>${escapeHtml(text)}</td></tr>`;
  };
  return `<h2>Nodes by strategy and kernel</h2>
<table>
<thead><tr><th>strategy</th><th>kernel</th><th class="number">nodes</th><th>lacks what newer kernels have (since)</th></tr></thead>
<tbody>${[...groups]
    .sort(([, a], [, b]) => b.length - a.length)
    .map(line)
    .join('\n')}</tbody>
</table>`;
}

function totalOf(nodes: readonly NodeConfigView[]): { samples: number; truncated: number } {
  const total = { samples: 0, truncated: 0 };
  for (const { status } of nodes)
    for (const policy of status.policies.values()) {
      total.samples += policy.samples;
      total.truncated += policy.truncated;
    }
  return total;
}

/** Drawn by attributes: the page's policy allows no style of its own. */
function bar(ratio: number | undefined): string {
  if (ratio === undefined) return '';
  const cut = 100 * ratio;
  return `<svg viewBox="0 0 100 10" preserveAspectRatio="none" role="img" aria-label="${share(ratio)} cut"><rect class="whole" width="${(100 - cut).toFixed(2)}" height="10"/><rect class="cut" x="${(100 - cut).toFixed(2)}" width="${cut.toFixed(2)}" height="10"/></svg>`;
}

function share(ratio: number | undefined): string {
  if (ratio === undefined) return '';
  return ratio > 0 && ratio < 0.0005 ? '&lt;0.1 %' : `${(100 * ratio).toFixed(1)} %`;
}

function escapeHtml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');
}
