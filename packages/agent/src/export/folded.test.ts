// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { NO_ATTRIBUTES } from '../profile/attribute-table.ts';
import { NO_MAPPING } from '../profile/mapping-table.ts';
import { Profile } from '../profile/profile.ts';
import { encodeFolded } from './folded.ts';
import { arbitraryModel, buildProfile } from './sample-model.ts';

test('lines start at the root and join equal stacks of different threads', () => {
  const profile = new Profile({ startUnixNano: 0n });
  const frame = (...names: string[]) =>
    profile.internFrame(
      'native',
      NO_MAPPING,
      0,
      names.map((name) => ({ name })),
    );
  const outer = [frame('main'), frame('__libc_start_main'), frame('_start')];
  const work = profile.stacks.internLeafFirst([frame('inner', 'work'), ...outer]);
  profile.addSample(NO_ATTRIBUTES, work, { 'thread.id': 1 }, 2);
  profile.addSample(NO_ATTRIBUTES, work, { 'thread.id': 2 }, 3);
  profile.addSample(NO_ATTRIBUTES, profile.stacks.internLeafFirst(outer), {});
  assert.equal(encodeFolded(profile), '_start;__libc_start_main;main 1\n_start;__libc_start_main;main;work;inner 5\n');
  assert.equal(
    encodeFolded(profile, { prefix: () => 'app' }),
    'app;_start;__libc_start_main;main 1\napp;_start;__libc_start_main;main;work;inner 5\n',
  );
});

test('a frame without a symbol is named by file and address, and separators are escaped', () => {
  const profile = new Profile({ startUnixNano: 0n });
  const mapping = { filename: '/usr/lib/libc.so.6', buildId: '', buildIdKind: 'gnu' as const };
  const range = { memoryStart: 0n, memoryLimit: 0n, fileOffset: 0n };
  const libc = profile.mappings.intern({ ...mapping, ...range });
  const stack = profile.stacks.internLeafFirst([
    profile.internFrame('native', NO_MAPPING, 0, [{ name: 'a;b\nc' }]),
    profile.internFrame('native', libc, 0x2724a, []),
    profile.internFrame('kernel', NO_MAPPING, 0xffff_ffff_8100_0000n, []),
  ]);
  profile.addSample(NO_ATTRIBUTES, stack, {});
  assert.equal(encodeFolded(profile), '[0xffffffff81000000];libc.so.6+0x2724a;a:b c 1\n');
});

test('no sample is lost, whatever the names are', () => {
  fc.assert(
    fc.property(arbitraryModel, (model) => {
      const lines = encodeFolded(buildProfile(model)).split('\n');
      assert.equal(lines.pop(), '');
      let total = 0;
      for (const line of lines) {
        const [, stack, value] = /^(.*) (\d+)$/.exec(line) ?? [];
        assert.ok(stack !== undefined, line);
        total += Number(value);
      }
      assert.equal(
        total,
        model.samples.reduce((sum, s) => sum + s.value, 0),
      );
      assert.equal(new Set(lines.map((l) => l.slice(0, l.lastIndexOf(' ')))).size, lines.length);
    }),
  );
});
