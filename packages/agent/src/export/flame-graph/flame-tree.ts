// SPDX-License-Identifier: Apache-2.0
import { ATTRIBUTE } from '../../profile/attribute-names.ts';
import type { AttributeSetHandle } from '../../profile/attribute-table.ts';
import { frameLabel } from '../../profile/frame-label.ts';
import { type FrameHandle, NO_FRAME } from '../../profile/frame-table.ts';
import { hangsFromRoot, type Profile, truncatedRootName } from '../../profile/profile.ts';
import type { SampleHandle } from '../../profile/sample-table.ts';
import { EMPTY_STACK } from '../../profile/stack-table.ts';
import { type FlameData, type FlameOutcome, type FlameProcess, TRUNCATED_KIND } from './flame-data.ts';

export interface FlameOptions {
  title?: string;
  facts?: FlameData['facts'];
  /** Reason → what it means to a person. */
  sentences?: ReadonlyMap<string, string>;
  /** Nodes above this number are left out, those with the fewest samples first. Default 300,000. */
  maxNodes?: number;
}

interface Node {
  frame: number;
  self: number;
  total: number;
  children: Map<number, Node>;
}

interface Process extends Omit<FlameProcess, 'depths' | 'nodes' | 'selves'> {
  root: Node;
}

/** The samples of some profiles (one recording, or the last minutes of a node) as one tree of functions per process. */
export function buildFlameData(profiles: readonly Profile[], options: FlameOptions = {}): FlameData {
  const frames = new FrameColumns();
  const processes = new Map<string, Process>();
  for (const profile of profiles) addSamples(profile, frames, processes);

  const byTotal = [...processes.values()].sort((a, b) => b.total - a.total);
  const threshold = smallestTotal(byTotal, options.maxNodes ?? 300_000);
  return {
    title: options.title ?? 'Plumbline profile',
    facts: options.facts ?? [],
    unit: profiles[0]?.sampleType.type ?? 'samples',
    ...frames.columns,
    processes: byTotal.map((process) => flatten(process, threshold)),
    outcomes: joinOutcomes(profiles, options.sentences ?? new Map()),
  };
}

/** Distinct frames as people tell them apart: by label, kind and file, not by address. */
class FrameColumns {
  readonly columns: Pick<FlameData, 'frames' | 'kinds' | 'modules'> = {
    frames: { label: [], kind: [], module: [], source: [], inlined: [] },
    kinds: [],
    modules: [],
  };
  readonly #index = new Map<string, number>();

  intern(label: string, kind: string, module: string, source: string, inlined: boolean): number {
    const key = `${label}\0${kind}\0${module}\0${inlined}`;
    let index = this.#index.get(key);
    if (index === undefined) {
      const { frames, kinds, modules } = this.columns;
      index = frames.label.push(label) - 1;
      frames.kind.push(indexIn(kinds, kind));
      frames.module.push(indexIn(modules, module));
      frames.source.push(source);
      frames.inlined.push(inlined ? 1 : 0);
      this.#index.set(key, index);
    }
    return index;
  }
}

function indexIn(list: string[], text: string): number {
  const index = list.indexOf(text);
  return index >= 0 ? index : list.push(text) - 1;
}

function addSamples(profile: Profile, columns: FrameColumns, processes: Map<string, Process>): void {
  const { samples, stacks, frames, functions, mappings, strings, attributes } = profile;
  const known: number[] = [];
  const intern = (frame: FrameHandle): number => {
    known[frame] ??= columns.intern(
      frameLabel(profile, frame),
      isTruncatedRoot(profile, frame) ? TRUNCATED_KIND : frames.kind(frame),
      mappings.get(frames.mapping(frame)).filename,
      strings.get(functions.file(frames.function(frame))),
      frames.inlinedInto(frame) !== NO_FRAME,
    );
    return known[frame];
  };

  const path: number[] = []; // innermost first
  for (let i = 0; i < samples.count; i++) {
    const sample = i as SampleHandle;
    path.length = 0;
    let outermost = NO_FRAME;
    for (let s = samples.stack(sample); s !== EMPTY_STACK; s = stacks.parent(s)) {
      outermost = stacks.frame(s);
      for (let f = outermost; f !== NO_FRAME; f = frames.inlinedInto(f)) path.push(intern(f));
    }
    const facts = attributes.entries(samples.attributes(sample));
    const isTruncated = facts.get(ATTRIBUTE.stackOutcome) === 'truncated' || isTruncatedRoot(profile, outermost);
    const elided = Number(facts.get(ATTRIBUTE.elidedFrames) ?? 0);
    const synthetic = (isTruncatedRoot(profile, outermost) ? 1 : 0) + (elided > 0 ? 1 : 0);
    const depth = stacks.depth(samples.stack(sample)) - synthetic + elided;
    const reason = String(facts.get(ATTRIBUTE.truncationReason) ?? 'unknown');
    if (isTruncated && !isTruncatedRoot(profile, outermost) && !hangsFromRoot(reason)) {
      path.push(columns.intern(truncatedRootName(reason), TRUNCATED_KIND, '', '', false));
    }
    const process = processOf(profile, samples.resource(sample), processes);
    addPath(process, path, samples.value(sample));
    if (isTruncated) process.truncated += samples.value(sample);
    process.deepest = Math.max(process.deepest, depth);
  }
}

function isTruncatedRoot({ frames, functions, strings }: Profile, frame: FrameHandle): boolean {
  return (
    frame !== NO_FRAME &&
    frames.kind(frame) === 'synthetic' &&
    strings.get(functions.name(frames.function(frame))).startsWith('[truncated')
  );
}

function processOf(profile: Profile, resource: AttributeSetHandle, processes: Map<string, Process>): Process {
  const facts = profile.attributes.entries(resource);
  const text = (name: string) => String(facts.get(name) ?? '');
  const pid = facts.get(ATTRIBUTE.processPid);
  const name = text(ATTRIBUTE.processExecutableName) || text(ATTRIBUTE.serviceName) || 'process';
  const container =
    [text(ATTRIBUTE.namespaceName), text(ATTRIBUTE.podName), text(ATTRIBUTE.containerName)].filter(Boolean).join('/') ||
    text(ATTRIBUTE.containerId).slice(0, 12);
  const key = `${pid}\0${name}\0${container}`;
  let process = processes.get(key);
  if (!process) {
    const root: Node = { frame: -1, self: 0, total: 0, children: new Map() };
    process = {
      name,
      pid: pid === undefined ? undefined : Number(pid),
      container,
      total: 0,
      truncated: 0,
      deepest: 0,
      root,
    };
    processes.set(key, process);
  }
  return process;
}

function addPath(process: Process, leafFirst: readonly number[], value: number): void {
  process.total += value;
  let node = process.root;
  for (let i = leafFirst.length - 1; i >= 0; i--) {
    let child = node.children.get(leafFirst[i]);
    if (!child) {
      child = { frame: leafFirst[i], self: 0, total: 0, children: new Map() };
      node.children.set(leafFirst[i], child);
    }
    child.total += value;
    node = child;
  }
  node.self += value;
}

/** The smallest total that a node must have so that at most `maxNodes` have it. */
function smallestTotal(processes: readonly Process[], maxNodes: number): number {
  const totals: number[] = [];
  for (const { root } of processes) {
    const pending = [root];
    for (let node = pending.pop(); node; node = pending.pop()) {
      for (const child of node.children.values()) {
        totals.push(child.total);
        pending.push(child);
      }
    }
  }
  if (totals.length <= maxNodes) return 0;
  totals.sort((a, b) => b - a);
  return totals[maxNodes] + 1;
}

/** Depth first, without recursion: stacks are thousands of frames deep. What is left out stays part of its caller. */
function flatten({ root, ...process }: Process, threshold: number): FlameProcess {
  const result: FlameProcess = { ...process, depths: [], nodes: [], selves: [] };
  const pending: { node: Node; depth: number }[] = [];
  const enter = (node: Node, depth: number): number => {
    let left = 0;
    for (const child of node.children.values()) {
      if (child.total >= threshold) pending.push({ node: child, depth });
      else left += child.total;
    }
    return left;
  };
  enter(root, 0);
  for (let next = pending.pop(); next; next = pending.pop()) {
    const { node, depth } = next;
    result.depths.push(depth);
    result.nodes.push(node.frame);
    result.selves.push(node.self + enter(node, depth + 1));
  }
  return result;
}

function joinOutcomes(profiles: readonly Profile[], sentences: ReadonlyMap<string, string>): FlameOutcome[] {
  const joined = new Map<string, FlameOutcome>();
  for (const profile of profiles) {
    for (const { outcome, reason, count } of profile.outcomes) {
      const key = `${outcome}\0${reason}`;
      const entry = joined.get(key);
      if (entry) entry.count += count;
      else joined.set(key, { outcome, reason, count, sentence: sentences.get(reason) ?? '' });
    }
  }
  return [...joined.values()].sort((a, b) => b.count - a.count);
}
