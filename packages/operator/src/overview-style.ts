// SPDX-License-Identifier: Apache-2.0
/** Colours as on the page of the agent. */
export const overviewStyle = `
:root { color-scheme: light dark; --ground: #faf8f5; --panel: #fff; --ink: #1b1814; --quiet: #6b645b; --line: #e2dcd3; --cut: #b3134f; --good: #2f8f5b; --link: #1a63d8; }
@media (prefers-color-scheme: dark) { :root { --ground: #16181c; --panel: #1f2227; --ink: #ece8e1; --quiet: #9b968d; --line: #33373e; --cut: #ff6d9e; --good: #46b87b; --link: #7db0ff; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 14px/1.45 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
header { padding: 12px 20px 0; }
main { padding: 10px 20px 30px; max-width: 1500px; }
nav { float: right; }
a { color: var(--link); }
h1 { margin: 0; font-size: 18px; }
h2 { font-size: 15px; margin: 22px 0 4px; }
code { white-space: nowrap; font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
.verdict { background: var(--panel); border: 1px solid var(--line); border-left: 8px solid var(--quiet); border-radius: 8px; padding: 12px 18px; margin: 6px 0 12px; font-size: 17px; overflow-wrap: anywhere; }
.verdict.bad { border-left-color: var(--cut); }
.verdict.bad b { color: var(--cut); }
.verdict.good { border-left-color: var(--good); }
.cards { display: flex; flex-wrap: wrap; gap: 10px; }
.card { background: var(--panel); border: 1px solid var(--line); border-radius: 8px; padding: 6px 14px; display: flex; flex-direction: column; min-width: 120px; }
.card b { font-size: 20px; font-variant-numeric: tabular-nums; }
.card span { color: var(--quiet); font-size: 12px; }
.card.bad b { color: var(--cut); }
table { border-collapse: collapse; width: 100%; font-size: 13.5px; }
th { text-align: left; font-weight: 400; color: var(--quiet); padding: 2px 14px 2px 0; white-space: nowrap; }
td { padding: 5px 14px 5px 0; border-top: 1px solid var(--line); vertical-align: top; overflow-wrap: anywhere; }
td:first-child { white-space: nowrap; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.bar { width: 130px; min-width: 80px; }
svg { width: 100%; height: 12px; display: block; border-radius: 3px; margin-top: 4px; }
rect.whole { fill: var(--good); }
rect.cut { fill: var(--cut); }
tr.bad td:first-child, tr.bad .cut { color: var(--cut); font-weight: 700; }
`;
