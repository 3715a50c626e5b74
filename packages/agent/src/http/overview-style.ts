// SPDX-License-Identifier: Apache-2.0
/** What the overview adds to the style of the flame graph page: colours are that page's. */
export const overviewStyle = `
html, body.overview { height: auto; }
body.overview { display: block; }
body.overview header { padding: 12px 20px 0; }
body.overview main { padding: 10px 20px 30px; max-width: 1500px; }
nav { float: right; display: flex; gap: 16px; }
a { color: var(--focus); }
nav a[aria-current] { color: var(--ink); font-weight: 600; text-decoration: none; }
h2 { font-size: 15px; margin: 22px 0 4px; }
code { font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: 0.95em; }
.problem { background: var(--dropped); color: #1b1814; border-radius: 8px; padding: 10px 16px; margin: 6px 0; }
.verdict { background: var(--panel); border: 1px solid var(--line); border-left: 8px solid var(--quiet); border-radius: 8px; padding: 12px 18px; margin: 6px 0 12px; font-size: 17px; }
.verdict.bad { border-left-color: var(--cut); }
.verdict.bad b { color: var(--cut); }
.verdict.good { border-left-color: var(--good); }
table.workloads { width: 100%; font-size: 13.5px; }
.workloads th { text-align: left; font-weight: 400; color: var(--quiet); padding: 2px 14px 2px 0; white-space: nowrap; }
.workloads th.number { text-align: right; }
.workloads td { padding: 5px 14px 5px 0; }
.workloads .bar-cell { width: 150px; min-width: 90px; }
.workloads svg { width: 100%; height: 12px; display: block; border-radius: 3px; margin-top: 4px; }
.workloads .bad .cut-share { color: var(--cut); font-weight: 700; }
.workloads .bad a { font-weight: 700; }
.workloads .few { opacity: 0.55; }
.fill-complete { fill: var(--good); }
.fill-recovered { fill: var(--recovered); }
.fill-truncated { fill: var(--cut); }
.causes { padding-left: 22px; margin: 6px 0; max-width: 1100px; }
.causes li { margin: 0 0 12px; overflow-wrap: anywhere; }
.todo::before { content: "→ "; color: var(--good); font-weight: 700; }
`;
