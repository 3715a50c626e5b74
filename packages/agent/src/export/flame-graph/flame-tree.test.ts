// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ATTRIBUTE } from '../../profile/attribute-names.ts';
import { NO_MAPPING } from '../../profile/mapping-table.ts';
import { ELIDED_FRAMES, Profile } from '../../profile/profile.ts';
import { encodeFolded, foldedName } from '../folded.ts';
import { encodeHtml } from '../html.ts';
import { arbitraryModel, buildProfile } from '../sample-model.ts';
import { type FlameNode, layOut, matchedTotal, nodeAt, PROCESS_KIND } from './browser/flame-layout.ts';
import { buildFlameData } from './flame-tree.ts';

/** Folded stacks read off a layout. */
function foldedOf(root: FlameNode): Map<string, number> {
  const lines = new Map<string, number>();
  const pending = [{ node: root, path: [] as string[] }];
  for (let next = pending.pop(); next; next = pending.pop()) {
    const { node, path } = next;
    const here = node.kind === PROCESS_KIND ? path : [...path, foldedName(node.label)];
    if (node.self > 0) {
      const line = here.join(';') || '[no stack]';
      lines.set(line, (lines.get(line) ?? 0) + node.self);
    }
    for (const child of node.children) pending.push({ node: child, path: here });
  }
  return lines;
}

test('the layout holds the same stacks as the folded form', () => {
  fc.assert(
    fc.property(arbitraryModel, (model) => {
      const profile = buildProfile(model);
      const data = JSON.parse(JSON.stringify(buildFlameData([profile])));
      const { root } = layOut(data, data.processes);
      const lines = [...foldedOf(root)].map(([stack, value]) => `${stack} ${value}`);
      const folded = encodeFolded(profile).trimEnd();
      assert.deepEqual(lines.sort(), folded === '' ? [] : folded.split('\n').sort());
    }),
    { numRuns: 200 },
  );
});

test('boxes of a row do not overlap, lie inside of their parents, and are found by position', () => {
  fc.assert(
    fc.property(arbitraryModel, (model) => {
      const data = buildFlameData([buildProfile(model)]);
      const { rows } = layOut(data, data.processes);
      for (const row of rows) {
        let end = 0;
        for (const node of row) {
          assert.ok(node.start >= end);
          end = node.start + node.total;
          if (node.parent) assert.ok(end <= node.parent.start + node.parent.total);
          if (node.total > 0) {
            assert.equal(nodeAt(row, node.start), node);
            assert.equal(nodeAt(row, end - 0.5), node);
          }
        }
        assert.equal(nodeAt(row, end), undefined);
      }
    }),
  );
});

function nativeStack(profile: Profile, ...rootFirst: string[]) {
  const frames = rootFirst.map((name, i) => profile.internFrame('native', 0 as never, i + 1, [{ name }]));
  return profile.stacks.internLeafFirst(frames.reverse());
}

test('a cut stack hangs from a root of its own, also when the profile has no synthetic frame', () => {
  const profile = new Profile({ startUnixNano: 0n });
  const resource = profile.attributes.internSet({ 'process.pid': 9, 'process.executable.name': 'app' });
  profile.addSample(resource, nativeStack(profile, 'main', 'work'), { 'plumbline.stack.outcome': 'complete' }, 6);
  const cut = { 'plumbline.stack.outcome': 'truncated', 'plumbline.stack.truncation.reason': 'read_fault' };
  profile.addSample(resource, nativeStack(profile, 'work'), cut, 10);
  const data = buildFlameData([profile]);
  const { root, rows } = layOut(data, data.processes);
  assert.equal(root.label, 'app (9)');
  assert.deepEqual(
    rows[1].map((node) => [node.label, node.total, node.truncated]),
    [
      ['main', 6, false],
      ['[truncated: read_fault]', 10, true],
    ],
  );
  assert.deepEqual(
    rows[2].map((node) => [node.label, node.truncated]),
    [
      ['work', false],
      ['work', true],
    ],
  );
  assert.deepEqual([data.processes[0].truncated, data.processes[0].deepest], [10, 2]);
  assert.equal(
    matchedTotal(root, (node) => node.label === 'work'),
    16,
  );
});

test('several profiles are shown as one, processes of one program below one node', () => {
  const profiles = [1, 2].map((pid) => {
    const profile = new Profile({ startUnixNano: 0n });
    const resource = profile.attributes.internSet({ 'process.pid': pid, 'process.executable.name': 'app' });
    profile.addSample(resource, nativeStack(profile, 'main', `f${pid}`), {}, pid);
    profile.countOutcome('complete', 'root_entry', pid);
    return profile;
  });
  const data = buildFlameData(profiles, { sentences: new Map([['root_entry', 'why']]) });
  const { root, rows } = layOut(data, data.processes);
  assert.equal(root.label, 'all processes');
  assert.deepEqual(
    rows.map((row) => row.map((n) => `${n.label} ${n.total}`).join(', ')),
    ['all processes 3', 'app 3', 'main 3', 'f2 2, f1 1'],
  );
  assert.deepEqual(data.outcomes, [{ outcome: 'complete', reason: 'root_entry', sentence: 'why', count: 3 }]);
});

test('a limit of nodes keeps the largest and loses no sample', () => {
  const profile = new Profile({ startUnixNano: 0n });
  for (let i = 0; i < 100; i++) profile.addSample(0 as never, nativeStack(profile, 'main', `f${i}`), {}, i + 1);
  const data = buildFlameData([profile], { maxNodes: 11 });
  const { root, rows } = layOut(data, data.processes);
  assert.equal(root.total, 5050);
  assert.deepEqual(
    rows[2].map((n) => n.label),
    Array.from({ length: 10 }, (_, i) => `f${99 - i}`),
  );
});

test('a stack of thousands of frames is laid out', () => {
  const profile = new Profile({ startUnixNano: 0n });
  const names = Array.from({ length: 5000 }, (_, i) => `f${i % 3}`);
  profile.addSample(0 as never, nativeStack(profile, ...names), {});
  const data = buildFlameData([profile]);
  assert.equal(layOut(data, data.processes).rows.length, 5001);
  assert.equal(data.processes[0].deepest, 5000);
});

test('names cannot break out of the page', () => {
  const profile = new Profile({ startUnixNano: 0n });
  const name = '</script><script>alert(1)</script><!--';
  profile.addSample(0 as never, nativeStack(profile, name), {});
  const page = encodeHtml(profile, { title: name, refreshUrl: '"><img>' });
  assert.ok(!page.includes('<script>alert'));
  assert.ok(!page.includes('<img>'));
  const json = /<script type="application\/json" id="data">(.*?)<\/script>/s.exec(page)?.[1] ?? '';
  assert.equal(JSON.parse(json).frames.label[0], name);
});

test('a stack of which the middle was left out hangs from its root and is as deep as it was', () => {
  const profile = new Profile({ startUnixNano: 0n });
  const [leaf, main] = ['leaf', 'main'].map((name) => profile.internFrame('native', NO_MAPPING, 0, [{ name }]));
  const stack = profile.stacks.internLeafFirst([leaf, profile.internElidedFrames(), main]);
  const resource = profile.attributes.internSet({ [ATTRIBUTE.processPid]: 1 });
  profile.addSample(resource, stack, {
    [ATTRIBUTE.stackOutcome]: 'truncated',
    [ATTRIBUTE.truncationReason]: 'frame_limit',
    [ATTRIBUTE.elidedFrames]: 900,
  });
  const data = buildFlameData([profile]);
  assert.deepEqual([...foldedOf(layOut(data, data.processes).root).keys()], [`main;${ELIDED_FRAMES};leaf`]);
  assert.deepEqual([data.processes[0].truncated, data.processes[0].deepest], [1, 902]);
});
