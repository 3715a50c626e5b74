// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { arbitraryModel, buildProfile } from '../sample-model.ts';
import type { FlameData } from './flame-data.ts';
import { buildFlameData } from './flame-tree.ts';
import { joinFlameData } from './join-flame-data.ts';

/** Every node as text: what a reader sees of a process. */
function seen(data: FlameData, container: (own: string) => string): string[] {
  const { frames, kinds, modules } = data;
  return data.processes
    .map(({ nodes, depths, selves, ...process }) => {
      const lines = nodes.map((frame, i) =>
        JSON.stringify([
          depths[i],
          selves[i],
          frames.label[frame],
          kinds[frames.kind[frame]],
          modules[frames.module[frame]],
          frames.inlined[frame],
        ]),
      );
      return JSON.stringify([{ ...process, container: container(process.container) }, ...lines]);
    })
    .sort();
}

test('each node’s processes look as before, whatever the other nodes have', () => {
  fc.assert(
    fc.property(arbitraryModel, arbitraryModel, (one, other) => {
      const parts = [one, other].map((model, i) => ({ node: `n${i}`, data: buildFlameData([buildProfile(model)]) }));
      const joined = joinFlameData(parts, { title: 't', facts: [] });
      const expected = parts.flatMap(({ node, data }) => seen(data, (own) => [node, own].filter(Boolean).join('/')));
      assert.deepEqual(
        seen(joined, (own) => own),
        expected.sort(),
      );
      const total = (data: FlameData) => data.processes.reduce((sum, process) => sum + process.total, 0);
      assert.equal(total(joined), total(parts[0].data) + total(parts[1].data));
      const labels = joined.frames.label.map((label, i) =>
        JSON.stringify([
          label,
          joined.kinds[joined.frames.kind[i]],
          joined.modules[joined.frames.module[i]],
          joined.frames.inlined[i],
        ]),
      );
      assert.equal(new Set(labels).size, labels.length, 'every frame is there once');
    }),
    { numRuns: 100 },
  );
});
