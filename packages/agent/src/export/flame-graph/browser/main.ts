// SPDX-License-Identifier: Apache-2.0
import type { FlameData, FlameOutcome, FlameProcess } from '../flame-data.ts';
import { FlameCanvas } from './flame-canvas.ts';
import { type FlameNode, layOut, matchedTotal, PROCESS_KIND, processLabel } from './flame-layout.ts';
import { kindStyle } from './palette.ts';

/** The script of the flame graph page: reads the data from the page, fills the elements that `page.ts` names. */

function element<E extends HTMLElement>(id: string): E {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no element #${id}`);
  return found as E;
}

const numbers = new Intl.NumberFormat('en-US');

function percent(part: number, whole: number): string {
  if (whole === 0) return '0 %';
  const value = (100 * part) / whole;
  return `${value !== 0 && value < 0.01 ? '< 0.01' : value.toFixed(value < 10 ? 2 : 1)} %`;
}

/** A new element with a class and children. */
function make(tag: string, className: string, ...children: (Node | string)[]): HTMLElement {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.append(...children);
  return node;
}

let data: FlameData = JSON.parse(element('data').textContent ?? '');
let shownTotal = 0;
let root: FlameNode | undefined;

const tooltip = element('tooltip');
const details = element('details');
const search = element<HTMLInputElement>('search');
const select = element<HTMLSelectElement>('process');

const canvas = new FlameCanvas(element('scroller'), element('spacer'), element<HTMLCanvasElement>('canvas'), {
  onHover(node, x, y) {
    tooltip.hidden = node === undefined;
    if (!node) return;
    tooltip.replaceChildren(...describe(node));
    const box = tooltip.getBoundingClientRect();
    tooltip.style.left = `${Math.max(8, Math.min(x + 14, innerWidth - box.width - 8))}px`;
    tooltip.style.top = `${y + 18 + box.height > innerHeight ? y - box.height - 10 : y + 18}px`;
  },
  onCursor: (node) => details.replaceChildren(...describe(node)),
  onZoom(node) {
    element('reset').hidden = node === root;
    details.replaceChildren(...describe(node));
  },
});

/** A box in words. */
function describe(node: FlameNode): Node[] {
  const share = `${numbers.format(node.total)} ${data.unit} · ${percent(node.total, shownTotal)}`;
  const ofParent = node.parent ? ` · ${percent(node.total, node.parent.total)} of its caller` : '';
  const own = node.kind === PROCESS_KIND ? '' : ` · own code ${percent(node.self, shownTotal)}`;
  const place = [
    kindStyle(node.kind).title,
    node.inlined ? 'inlined' : '',
    node.module,
    node.source,
    node.kind === PROCESS_KIND ? '' : `depth ${node.depth}`,
  ];
  const lines = [
    make('strong', '', node.label),
    make('div', '', share + ofParent + own),
    make('div', 'quiet', place.filter(Boolean).join(' · ')),
  ];
  if (node.truncated) {
    let top: FlameNode = node;
    while (top.parent?.truncated) top = top.parent;
    const reason = /^\[truncated: (.*)\]$/.exec(top.label)?.[1] ?? '';
    const sentence = data.outcomes.find((o) => o.reason === reason)?.sentence;
    lines.push(
      make('div', 'cut', `Stack cut (${reason})${sentence ? `: ${sentence}` : ''}. Its outer callers are not known.`),
    );
  }
  return lines;
}

function showHead(): void {
  document.title = data.title;
  element('title').textContent = data.title;
  element('facts').replaceChildren(
    ...data.facts.map(({ name, value }) => make('span', 'fact', make('span', 'quiet', `${name} `), value)),
  );
  showSummary();
  const chosen = select.value;
  select.replaceChildren(...choices());
  if ([...select.options].some((option) => option.value === chosen)) select.value = chosen;
}

/** What the graph can be narrowed to: all processes, those of a container, one process. */
function choices(): HTMLOptionElement[] {
  const total = data.processes.reduce((sum, process) => sum + process.total, 0);
  const choice = (value: string, label: string, processes: readonly FlameProcess[]) => {
    const option = document.createElement('option');
    const samples = processes.reduce((sum, process) => sum + process.total, 0);
    const truncated = processes.reduce((sum, process) => sum + process.truncated, 0);
    const cut = truncated > 0 ? `, ${percent(truncated, samples)} cut` : '';
    option.value = value;
    option.textContent = `${label}: ${percent(samples, total)}${cut}`;
    return option;
  };
  const single = data.processes.map((process) => choice(processKey(process), processLabel(process), [process]));
  if (data.processes.length === 1) return single;
  const containers = new Map<string, FlameProcess[]>();
  for (const process of data.processes) {
    containers.set(process.container, [...(containers.get(process.container) ?? []), process]);
  }
  const whole = [...containers].filter(([container, processes]) => container !== '' && processes.length > 1);
  return [
    choice('all', `All processes (${data.processes.length})`, data.processes),
    ...whole.map(([name, processes]) =>
      choice(containerKey(name), `Container ${name} (${processes.length})`, processes),
    ),
    ...single,
  ];
}

const containerKey = (container: string) => `container ${container}`;
const processKey = ({ name, pid, container }: FlameProcess) => `process ${pid} ${name} ${container}`;

function chosenProcesses(): FlameProcess[] {
  return data.processes.filter(
    (process) =>
      [processKey(process), containerKey(process.container)].includes(select.value) || select.value === 'all',
  );
}

const OUTCOMES: Readonly<Record<string, string>> = {
  complete: 'Complete',
  recovered: 'Recovered',
  truncated: 'Truncated',
  kernel_only: 'Kernel only',
  dropped: 'Dropped',
  filtered: 'Filtered',
};

function showSummary(): void {
  const counts = new Map<string, number>();
  for (const { outcome, count } of data.outcomes) counts.set(outcome, (counts.get(outcome) ?? 0) + count);
  const of = (outcome: string) => counts.get(outcome) ?? 0;
  const walked = of('complete') + of('recovered') + of('truncated');
  const deepest = Math.max(0, ...data.processes.map((process) => process.deepest));
  const card = (value: string, name: string, isBad = false) =>
    make('div', isBad ? 'card bad' : 'card', make('b', '', value), make('span', '', name));
  const total = data.outcomes.reduce((sum, o) => sum + o.count, 0);
  element('cards').replaceChildren(
    card(numbers.format(total || data.processes.reduce((sum, p) => sum + p.total, 0)), 'samples taken'),
    card(percent(of('complete') + of('recovered'), walked), 'of stacks reach their root'),
    card(percent(of('truncated'), walked), 'of stacks are cut', of('truncated') > 0),
    card(numbers.format(deepest), 'frames in the deepest stack'),
  );
  const inOrder = Object.keys(OUTCOMES).filter((outcome) => of(outcome) > 0);
  element('bar').replaceChildren(
    ...inOrder.map((outcome) => {
      const part = make('span', `part ${outcome}`);
      part.style.flexGrow = String(of(outcome));
      part.title = `${OUTCOMES[outcome]}: ${numbers.format(of(outcome))} (${percent(of(outcome), total)})`;
      return part;
    }),
  );
  element('outcome-key').replaceChildren(
    ...inOrder.map((outcome) =>
      make('span', '', make('span', `swatch ${outcome}`), `${OUTCOMES[outcome]} ${percent(of(outcome), total)}`),
    ),
  );
  element('reasons').replaceChildren(...inOrder.flatMap((outcome) => reasonRows(outcome, total)));
  element('outcomes').hidden = total === 0;
}

function reasonRows(outcome: string, total: number): HTMLElement[] {
  const rows = data.outcomes.filter((o) => o.outcome === outcome);
  return rows.map((o: FlameOutcome) =>
    make(
      'tr',
      '',
      make('td', '', make('span', `swatch ${outcome}`), OUTCOMES[outcome] ?? outcome),
      make('td', 'number', numbers.format(o.count)),
      make('td', 'number', percent(o.count, total)),
      make('td', '', make('code', '', o.reason), o.sentence ? `: ${o.sentence}` : ''),
    ),
  );
}

function showGraph(): void {
  const chosen = chosenProcesses();
  element('empty').hidden = chosen.length > 0;
  element('scroller').hidden = chosen.length === 0;
  if (chosen.length === 0) return;
  const layout = layOut(data, chosen);
  root = layout.root;
  shownTotal = layout.root.total;
  const styles = new Map<string, HTMLElement>();
  for (const row of layout.rows) {
    for (const { kind } of row) {
      const { title } = kindStyle(kind);
      if (!styles.has(title))
        styles.set(title, make('span', 'key', make('span', `swatch kind-${kindClass(kind)}`), title));
    }
  }
  element('legend').replaceChildren(...styles.values());
  canvas.show(layout);
  applySearch();
}

function kindClass(kind: string): string {
  return kindStyle(kind).title.replaceAll(/\W.*/g, '').toLowerCase();
}

function applySearch(): void {
  const text = search.value.trim().toLowerCase();
  const matches = (node: FlameNode) =>
    node.label.toLowerCase().includes(text) || node.module.toLowerCase().includes(text);
  canvas.search(text ? matches : undefined);
  const matched = text && root ? `${percent(matchedTotal(root, matches), shownTotal)} matched` : '';
  element('matched').textContent = matched;
}

search.addEventListener('input', applySearch);
select.addEventListener('change', showGraph);
element('reset').addEventListener('click', () => root && canvas.zoom(root));
element('direction').addEventListener('click', (event) => {
  const button = event.currentTarget as HTMLElement;
  const rootOnTop = button.getAttribute('aria-pressed') === 'true';
  button.setAttribute('aria-pressed', String(!rootOnTop));
  canvas.isRootOnTop = rootOnTop;
  element('side').textContent = rootOnTop ? 'below' : 'above';
});
element('theme').addEventListener('click', () => {
  const dark = getComputedStyle(document.documentElement).colorScheme === 'dark';
  document.documentElement.dataset.theme = dark ? 'light' : 'dark';
  canvas.repaint();
});
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => canvas.repaint());
document.addEventListener('keydown', (event) => {
  if (event.key === '/' && event.target !== search) {
    event.preventDefault();
    search.focus();
  } else if (event.key === 'Escape' && event.target === search) {
    search.value = '';
    applySearch();
    element('canvas').focus();
  }
});

/** Shows newer samples. The place in the graph is kept where it can be: unzoomed. */
async function refresh(url: string): Promise<void> {
  try {
    const response = await fetch(url);
    if (!response.ok) throw new Error(`${response.status} ${response.statusText}`);
    data = await response.json();
    const { scrollTop } = element('scroller');
    showHead();
    showGraph();
    element('scroller').scrollTop = scrollTop;
  } catch (error) {
    details.replaceChildren(make('span', 'cut', `The profile could not be loaded: ${String(error)}`));
  }
}

const { refreshUrl, refreshSeconds } = document.body.dataset;
if (refreshUrl) {
  const button = element<HTMLButtonElement>('refresh');
  button.hidden = false;
  button.addEventListener('click', async () => {
    button.disabled = true;
    await refresh(refreshUrl);
    button.disabled = false;
  });
}
if (refreshUrl && refreshSeconds) {
  const every = element('every');
  every.hidden = false;
  every.addEventListener('click', () => {
    every.setAttribute('aria-pressed', String(every.getAttribute('aria-pressed') !== 'true'));
  });
  setInterval(() => {
    // Not while someone looks at a part: zoomed in, or with an open list.
    const isBusy = document.hidden || !element('reset').hidden || document.activeElement === select;
    if (every.getAttribute('aria-pressed') === 'true' && !isBusy) void refresh(refreshUrl);
  }, Number(refreshSeconds) * 1000);
}

showHead();
showGraph();
