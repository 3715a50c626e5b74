// SPDX-License-Identifier: Apache-2.0
import { type FlameData, type FlameProcess, TRUNCATED_KIND } from '../flame-data.ts';

/** Kind of the nodes above the stacks: all processes, one process. */
export const PROCESS_KIND = 'process';

/** One box: a function called from its parent's function, with all samples that this holds for. */
export interface FlameNode {
  label: string;
  kind: string;
  module: string;
  source: string;
  inlined: boolean;
  /** The stack hangs from a `[truncated: …]` root: its callers are not known. */
  truncated: boolean;
  depth: number;
  self: number;
  total: number;
  /** Samples to the left of the box: its horizontal position, in the unit of `total`. */
  start: number;
  parent: FlameNode | undefined;
  children: FlameNode[];
}

/** The tree of the chosen processes and its boxes by row, each row sorted from left to right. */
export interface FlameLayout {
  root: FlameNode;
  rows: FlameNode[][];
}

interface Building extends FlameNode {
  byKey: Map<string | number, Building>;
}

/**
 * Joins the trees of the chosen processes and places their boxes: among siblings the widest first, cut stacks last.
 * With more than one process there is one node per program below the root.
 */
export function layOut(data: FlameData, processes: readonly FlameProcess[]): FlameLayout {
  const [only] = processes;
  const isSingle = processes.length === 1;
  const root = newNode(undefined, isSingle ? processLabel(only) : 'all processes', PROCESS_KIND);
  for (const process of processes) {
    let top = root;
    if (!isSingle) {
      const key = `${process.name}\0${process.container}`;
      top = root.byKey.get(key) ?? newNode(root, process.name, PROCESS_KIND);
      top.module = process.container;
      root.byKey.set(key, top);
    }
    addTree(data, process, top);
  }
  sumTotals(root);
  return { root, rows: place(root) };
}

/** Program, process id and container: what a person chooses a process by. */
export function processLabel({ name, pid, container }: FlameProcess): string {
  return `${name}${pid === undefined ? '' : ` (${pid})`}${container ? ` in ${container}` : ''}`;
}

function newNode(parent: Building | undefined, label: string, kind: string): Building {
  const depth = parent ? parent.depth + 1 : 0;
  const truncated = kind === TRUNCATED_KIND || (parent?.truncated ?? false);
  const numbers = { depth, self: 0, total: 0, start: 0 };
  return {
    label,
    kind,
    module: '',
    source: '',
    inlined: false,
    truncated,
    ...numbers,
    parent,
    children: [],
    byKey: new Map(),
  };
}

function addTree(data: FlameData, process: FlameProcess, top: Building): void {
  const { frames, kinds, modules } = data;
  const path: Building[] = []; // path[d]: the current node at depth d
  let inTree = 0;
  for (let i = 0; i < process.nodes.length; i++) {
    const depth = process.depths[i];
    const frame = process.nodes[i];
    const parent = depth === 0 ? top : path[depth - 1];
    let node = parent.byKey.get(frame);
    if (!node) {
      node = newNode(parent, frames.label[frame], kinds[frames.kind[frame]]);
      node.module = modules[frames.module[frame]];
      node.source = frames.source[frame];
      node.inlined = frames.inlined[frame] === 1;
      parent.byKey.set(frame, node);
    }
    node.self += process.selves[i];
    inTree += process.selves[i];
    path[depth] = node;
  }
  top.self += process.total - inTree; // samples without a stack
}

/** Totals from the leaves up, and children in their final order. */
function sumTotals(root: Building): void {
  const order: Building[] = [root];
  for (let i = 0; i < order.length; i++) for (const child of order[i].byKey.values()) order.push(child);
  for (let i = order.length - 1; i >= 0; i--) {
    const node = order[i];
    node.total = node.self;
    for (const child of node.byKey.values()) node.total += child.total;
    const rank = (n: FlameNode) => (n.kind === TRUNCATED_KIND ? 1 : 0);
    node.children = [...node.byKey.values()].sort(
      (a, b) => rank(a) - rank(b) || b.total - a.total || (a.label < b.label ? -1 : 1),
    );
    node.byKey.clear();
  }
}

function place(root: FlameNode): FlameNode[][] {
  const rows: FlameNode[][] = [];
  for (let row = [root]; row.length > 0; ) {
    rows.push(row);
    const next: FlameNode[] = [];
    for (const node of row) {
      let start = node.start;
      for (const child of node.children) {
        child.start = start;
        start += child.total;
        next.push(child);
      }
    }
    row = next;
  }
  return rows;
}

/** Index of the first box of a row that ends right of a position; the row's length when there is none. */
export function firstEndingAfter(row: readonly FlameNode[], position: number): number {
  let low = 0;
  let high = row.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (row[middle].start + row[middle].total > position) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** The box of a row at a position, if any. */
export function nodeAt(row: readonly FlameNode[] | undefined, position: number): FlameNode | undefined {
  const node = row?.[firstEndingAfter(row, position)];
  return node && node.start <= position ? node : undefined;
}

/** Samples in boxes that match, those inside of another match counted once. */
export function matchedTotal(root: FlameNode, matches: (node: FlameNode) => boolean): number {
  let total = 0;
  const pending = [root];
  for (let node = pending.pop(); node; node = pending.pop()) {
    if (matches(node)) total += node.total;
    else for (const child of node.children) pending.push(child);
  }
  return total;
}
