// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto';
import type { FlameData } from './flame-data.ts';
import { pageScript, pageStyle } from './page.gen.ts';

export interface PageOptions {
  /** Where the page can fetch newer FlameData as JSON; it then has a button for that. */
  refreshUrl?: string;
  /** With `refreshUrl`: it does so by itself this often, until a person looks at a part or turns it off. */
  refreshSeconds?: number;
  /** Where the title leads to. */
  homeUrl?: string;
}

const sha256 = (text: string) => `'sha256-${createHash('sha256').update(text).digest('base64')}'`;

/** A Content-Security-Policy: the page has this style, may do what `more` says, and nothing else. */
export function securityPolicy(style: string, ...more: string[]): string {
  const own = ["default-src 'none'", `style-src ${sha256(style)}`, "base-uri 'none'", "form-action 'none'"];
  return [...own, ...more].join('; ');
}

/**
 * What the page may do: run its own script and style, and fetch from where it came. The page says so itself; a server may
 * send it as a header as well.
 */
export const PAGE_SECURITY_POLICY = securityPolicy(pageStyle, `script-src ${sha256(pageScript)}`, "connect-src 'self'");

/** The flame graph page: one HTML file with script, style and data in it, that loads nothing. */
export function renderPage(data: FlameData, options: PageOptions = {}): string {
  const { refreshUrl, refreshSeconds, homeUrl } = options;
  const every = refreshSeconds === undefined ? '' : ` data-refresh-seconds="${refreshSeconds}"`;
  const refresh = refreshUrl === undefined ? '' : ` data-refresh-url="${escapeHtml(refreshUrl)}"${every}`;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="${PAGE_SECURITY_POLICY}">
<title>${escapeHtml(data.title)}</title>
<style>${pageStyle}</style>
</head>
<body${refresh}>
<header>
${homeUrl === undefined ? '' : `<a class="home" href="${escapeHtml(homeUrl)}">Overview</a>\n`}<h1 id="title">${escapeHtml(data.title)}</h1>
<div id="facts" class="facts"></div>
</header>
<section class="summary" aria-label="What became of the samples">
<div id="cards" class="summary-cards"></div>
<div id="outcomes" class="outcomes">
<div id="bar" class="bar"></div>
<div id="outcome-key" class="outcome-key"></div>
<details><summary>What became of each sample, by reason</summary><table><tbody id="reasons"></tbody></table></details>
</div>
</section>
<div class="tools">
<select id="process" aria-label="Process"></select>
<input id="search" type="search" placeholder="Search functions and files ( / )" size="30" aria-label="Search functions and files">
<span id="matched" class="matched" role="status"></span>
<button id="reset" type="button" hidden>Reset zoom</button>
<button id="direction" type="button" aria-pressed="false">Root at the bottom</button>
<button id="theme" type="button">Dark / light</button>
<button id="refresh" type="button" hidden>Refresh</button>
<button id="every" type="button" aria-pressed="true" hidden>${refreshSeconds === undefined ? '' : `Every ${refreshSeconds} s`}</button>
<div id="legend" class="legend"></div>
</div>
<div id="empty" class="empty" hidden>No samples were taken.</div>
<div id="scroller" class="scroller">
<div id="spacer" class="spacer"><canvas id="canvas" tabindex="0" role="application" aria-label="Flame graph: arrow keys move, Enter zooms in, Escape zooms out" aria-describedby="details"></canvas></div>
</div>
<footer>
<div id="details" class="details" role="status"></div>
<p class="quiet">Each box is a function, as wide as its share of the samples; <span id="side">below</span> it are the functions it called. Click zooms in.</p>
</footer>
<div id="tooltip" class="tooltip" hidden></div>
<noscript>This page draws the flame graph with a script of its own; please allow it.</noscript>
<script type="application/json" id="data">${JSON.stringify(data).replaceAll('<', '\\u003c')}</script>
<script>${pageScript}</script>
</body>
</html>
`;
}

export function escapeHtml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');
}
