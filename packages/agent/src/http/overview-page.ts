// SPDX-License-Identifier: Apache-2.0
/**
 * The first page of the agent: which workload has a problem, why, and what to do. HTML without a script; the flame graph is
 * another page. Pure.
 */
import type { Cause, Explanation } from '../explain/explanation.ts';
import { adviceOf } from '../explain/explanation-text.ts';
import type { WorkloadSummary } from '../explain/workload-summary.ts';
import { pageStyle } from '../export/flame-graph/page.gen.ts';
import { escapeHtml, securityPolicy } from '../export/flame-graph/page.ts';
import { overviewStyle } from './overview-style.ts';

export interface OverviewData {
  readonly facts: readonly { readonly name: string; readonly value: string }[];
  /** Why the node is not profiled as configured. */
  readonly problems: readonly { readonly message: string; readonly remedy: string }[];
  readonly workloads: readonly WorkloadSummary[];
  readonly explanation: Explanation;
  /** Truncated ratio that a policy promises. */
  readonly objective: (policy: string) => number | undefined;
}

/** User stacks below which a share says nothing. */
const ENOUGH = 50;
const MAX_ROWS = 30;
const REFRESH_SECONDS = 15;
const MAX_FILES = 3;

const STYLE = `${pageStyle}${overviewStyle}`;
export const OVERVIEW_SECURITY_POLICY = securityPolicy(STYLE, "frame-ancestors 'none'");

interface Row extends WorkloadSummary {
  readonly promised: number | undefined;
  readonly state: 'bad' | 'some' | 'good';
}

export function renderOverview(data: OverviewData): string {
  const rows = data.workloads.map((summary) => rowOf(summary, data.objective)).sort(worseFirst);
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="refresh" content="${REFRESH_SECONDS}">
<title>Plumbline: ${rows.filter(({ state }) => state === 'bad').length} workloads above their objective</title>
<style>${STYLE}</style>
</head>
<body class="overview">
<header>
<nav><a href="/" aria-current="page">Overview</a><a href="/flame">Flame graph</a><a href="/metrics">Metrics</a></nav>
<h1>Plumbline</h1>
<div class="facts">${data.facts.map(({ name, value }) => `<span><span class="quiet">${escapeHtml(name)}</span> ${escapeHtml(value)}</span>`).join('')}</div>
</header>
<main>
${data.problems.map(({ message, remedy }) => `<p class="problem"><b>This node is not profiled as configured:</b> ${escapeHtml(message)}. To do: ${escapeHtml(remedy)}.</p>`).join('\n')}
${verdict(rows, data.explanation)}
${cards(rows, data.explanation)}
${workloadTable(rows, data.explanation)}
${causes(data.explanation)}
</main>
</body>
</html>
`;
}

function rowOf(summary: WorkloadSummary, objective: OverviewData['objective']): Row {
  const promised = objective(summary.policy);
  const isAbove = promised !== undefined && summary.truncatedRatio > promised && summary.samples >= ENOUGH;
  return { ...summary, promised, state: isAbove ? 'bad' : summary.truncated > 0 ? 'some' : 'good' };
}

/** Those above their objective before the others; then by the number of cut stacks. */
function worseFirst(a: Row, b: Row): number {
  return Number(b.state === 'bad') - Number(a.state === 'bad') || b.truncated - a.truncated || b.samples - a.samples;
}

/** The answer to "is there a problem, and whose?", in one sentence. */
function verdict(rows: readonly Row[], explanation: Explanation): string {
  const bad = rows.filter(({ state }) => state === 'bad');
  const [worst] = bad;
  if (rows.length === 0) return '<p class="verdict">No user stacks were sampled yet.</p>';
  if (!worst)
    return '<p class="verdict good">Every workload keeps its promise: no stacks are cut beyond the objectives of the policies.</p>';
  const more =
    bad.length > 1 ? ` ${bad.length - 1} more workload${bad.length > 2 ? 's are' : ' is'} above the objective.` : '';
  return `<p class="verdict bad"><b>${escapeHtml(worst.workload)}</b>: ${percent(worst.truncatedRatio)} of its stacks are cut, policy ${escapeHtml(worst.policy)} promises at most ${percent(worst.promised ?? 0)}. ${why(worst, explanation)}${more}</p>`;
}

function cards(rows: readonly Row[], { samples, truncated, truncatedRatio, recovered }: Explanation): string {
  const bad = rows.filter(({ state }) => state === 'bad').length;
  const card = (value: string, name: string, isBad = false) =>
    `<div class="card${isBad ? ' bad' : ''}"><b>${value}</b><span>${name}</span></div>`;
  return `<div class="summary-cards">${[
    card(samples === 0 ? '–' : percent(1 - truncatedRatio), 'of stacks reach their root'),
    card(percent(truncatedRatio), 'of stacks are cut', truncated > 0),
    card(grouped(recovered), 'were finished by the agent'),
    card(`${bad} of ${rows.length}`, 'workloads above their objective', bad > 0),
  ].join('')}</div>`;
}

function workloadTable(rows: readonly Row[], explanation: Explanation): string {
  if (rows.length === 0) return '';
  const left = rows.length - MAX_ROWS;
  const line = (row: Row) => `<tr class="${row.state}${row.samples < ENOUGH ? ' few' : ''}">
<td><a href="/flame?workload=${encodeURIComponent(row.workload)}">${escapeHtml(row.workload)}</a></td>
<td class="bar-cell">${bar(row)}</td>
<td class="number cut-share">${percent(row.truncatedRatio)}</td>
<td class="number">${row.promised === undefined ? '' : percent(row.promised)}</td>
<td class="number">${row.usual ? percent(row.usual.truncatedRatio) : ''}</td>
<td class="number">${grouped(row.samples)}</td>
<td class="number">${row.depth.toFixed(0)}</td>
<td>${row.truncated > 0 ? why(row, explanation) : ''}</td>
</tr>`;
  return `<h2>Workloads, worst first</h2>
<table class="workloads">
<thead><tr><th>workload</th><th>stacks</th><th class="number">cut</th><th class="number">promised</th><th class="number">usual</th><th class="number">sampled</th><th class="number">frames</th><th>why, and what to do</th></tr></thead>
<tbody>
${rows.slice(0, MAX_ROWS).map(line).join('\n')}
</tbody>
</table>
${left > 0 ? `<p class="quiet">And ${left} more with fewer cut stacks: <a href="/api/workloads">/api/workloads</a>.</p>` : ''}`;
}

/** Complete, recovered and cut as parts of a bar. Drawn by attributes: the page's policy allows no style of its own. */
function bar({ samples, truncated, recovered }: Row): string {
  const width = (count: number) => (samples === 0 ? 0 : (100 * count) / samples);
  const parts = [
    ['fill-complete', width(samples - truncated - recovered)],
    ['fill-recovered', width(recovered)],
    ['fill-truncated', width(truncated)],
  ] as const;
  let x = 0;
  const rects = parts.map(([name, size]) => {
    const rect = `<rect class="${name}" x="${x.toFixed(2)}" width="${size.toFixed(2)}" height="10"/>`;
    x += size;
    return rect;
  });
  return `<svg viewBox="0 0 100 10" preserveAspectRatio="none" role="img" aria-label="${percent(width(truncated) / 100)} cut">${rects.join('')}</svg>`;
}

/** The top reason of a workload, with the advice that the whole node's samples give. */
function why({ topReason }: Row, { causes }: Explanation): string {
  const cause = causes.find(({ reason }) => reason === topReason);
  if (topReason === undefined) return '';
  return `<code>${escapeHtml(topReason)}</code>${cause ? `: ${escapeHtml(adviceOf(cause))}.` : ''}`;
}

function causes({ causes: all, lost }: Explanation): string {
  if (all.length === 0 && lost.length === 0) return '';
  return `<h2>Why stacks are cut</h2>
<ol class="causes">
${all.map(causeItem).join('\n')}
</ol>
${lost.map(({ reason, samples, advice }) => `<p>${grouped(samples)} samples were lost: <code>${escapeHtml(reason)}</code>. ${sentence(advice)}</p>`).join('\n')}`;
}

function causeItem(cause: Cause): string {
  const { reason, share, samples, meaning, files, processes, newerKernel, concern } = cause;
  const named = concern === 'file' || concern === 'defect' ? files.slice(0, MAX_FILES) : [];
  const details = [
    ...named.map(
      ({ path, buildId, samples: count, functions }) =>
        `<code>${escapeHtml(path)}</code> <span class="quiet">${buildId === '' ? 'no build id' : `build id ${escapeHtml(buildId)}`}; ${grouped(count)} samples${functions.length > 0 ? `; in ${escapeHtml(functions.slice(0, 2).join(', '))}` : ''}</span>`,
    ),
    ...newerKernel.map(
      ({ since, feature }) => `Linux ${escapeHtml(since)} or newer lifts it: this kernel lacks ${escapeHtml(feature)}.`,
    ),
    `<span class="quiet">${processes
      .slice(0, MAX_FILES)
      .map(
        ({ workload, program, pid }) =>
          `${escapeHtml(workload)}${workload === program ? '' : `: ${escapeHtml(program)}`} (pid ${pid})`,
      )
      .join(', ')}</span>`,
  ];
  return `<li><b><code>${escapeHtml(reason)}</code></b> ${percent(share)} of all stacks, ${grouped(samples)} samples. <span class="quiet">${sentence(meaning.split('; ')[0])}</span>
<div class="todo">${sentence(adviceOf(cause))}</div>
${details.map((detail) => `<div>${detail}</div>`).join('\n')}</li>`;
}

function sentence(text: string): string {
  return text === '' ? '' : `${escapeHtml(text[0].toUpperCase() + text.slice(1))}.`;
}

function grouped(count: number): string {
  return count.toLocaleString('en-US');
}

function percent(share: number): string {
  if (share > 0 && share < 0.0005) return '&lt;0.1 %';
  return `${(share * 100).toFixed(1)} %`;
}
