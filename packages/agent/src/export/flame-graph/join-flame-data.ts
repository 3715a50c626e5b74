// SPDX-License-Identifier: Apache-2.0
/** Flame graphs of several nodes as one: their processes beside each other, over one list of frames. Pure. */
import type { FlameData, FlameOutcome } from './flame-data.ts';

export interface NodeFlameData {
  /** Goes before the pod's name in the list of processes. */
  readonly node: string;
  readonly data: FlameData;
}

export function joinFlameData(parts: readonly NodeFlameData[], head: Pick<FlameData, 'title' | 'facts'>): FlameData {
  const joined: FlameData = {
    ...head,
    unit: parts[0]?.data.unit ?? 'samples',
    frames: { label: [], kind: [], module: [], source: [], inlined: [] },
    kinds: [],
    modules: [],
    processes: [],
    outcomes: [],
  };
  const frameIndex = new Map<string, number>();
  const outcomes = new Map<string, FlameOutcome>();
  for (const { node, data } of parts) {
    const frames = data.frames.label.map((label, i) => {
      const kind = data.kinds[data.frames.kind[i]];
      const module = data.modules[data.frames.module[i]];
      const key = JSON.stringify([label, kind, module, data.frames.inlined[i]]);
      let index = frameIndex.get(key);
      if (index === undefined) {
        index = joined.frames.label.push(label) - 1;
        joined.frames.kind.push(indexIn(joined.kinds, kind));
        joined.frames.module.push(indexIn(joined.modules, module));
        joined.frames.source.push(data.frames.source[i]);
        joined.frames.inlined.push(data.frames.inlined[i]);
        frameIndex.set(key, index);
      }
      return index;
    });
    for (const process of data.processes) {
      joined.processes.push({
        ...process,
        container: [node, process.container].filter(Boolean).join('/'),
        nodes: process.nodes.map((frame) => frames[frame]),
      });
    }
    for (const outcome of data.outcomes) {
      const key = `${outcome.outcome}\0${outcome.reason}`;
      const known = outcomes.get(key);
      if (known) known.count += outcome.count;
      else outcomes.set(key, { ...outcome });
    }
  }
  joined.processes.sort((a, b) => b.total - a.total);
  joined.outcomes = [...outcomes.values()].sort((a, b) => b.count - a.count);
  return joined;
}

function indexIn(list: string[], text: string): number {
  const index = list.indexOf(text);
  return index >= 0 ? index : list.push(text) - 1;
}
