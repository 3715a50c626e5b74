// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { StackTruth } from '../fixtures/start.ts';
import { compareWithTruth, compareWithUnwinder, type JudgedFrame, plainName } from './compare.ts';

const frame = (address: number, name: string): JudgedFrame => ({ address: BigInt(address), names: [name] });
const truth: StackTruth = {
  pid: 1,
  tid: 1,
  root: 'main',
  names: ['leaf', 'recurse', 'recurse', 'main'],
  returns: [20n, 21n, 30n, 40n],
};
const whole = [
  frame(10, 'leaf'),
  frame(20, 'recurse'),
  frame(21, 'recurse'),
  frame(30, 'main'),
  frame(40, '__libc_start_call_main'),
  frame(50, '__libc_start_main'),
  frame(60, '_start'),
];
const glibc = { libc: 'glibc', above: [] } as const;

describe('compareWithTruth', () => {
  it('accepts the whole stack, and every beginning of it as a cut one', () => {
    assert.equal(compareWithTruth(whole, true, truth, glibc), undefined);
    for (let length = 1; length < whole.length; length++) {
      assert.equal(compareWithTruth(whole.slice(0, length), false, truth, glibc), undefined);
    }
  });

  it('refuses every stack with a frame missing, doubled, or at another address', () => {
    for (let i = 0; i < whole.length; i++) {
      assert.notEqual(compareWithTruth(whole.toSpliced(i, 1), true, truth, glibc), undefined, `without frame ${i}`);
      assert.notEqual(
        compareWithTruth(whole.toSpliced(i, 0, whole[i]), true, truth, glibc),
        undefined,
        `frame ${i} twice`,
      );
      const moved = whole.with(i, { ...whole[i], address: 99n, names: ['elsewhere'] });
      assert.notEqual(compareWithTruth(moved, true, truth, glibc), undefined, `frame ${i} elsewhere`);
      if (i > 0 && i < 5) {
        const sameName = whole.with(i, { ...whole[i], address: 99n });
        assert.notEqual(compareWithTruth(sameName, true, truth, glibc), undefined, `frame ${i} at another address`);
      }
    }
  });

  it('refuses a cut stack with a wrong frame at its end, and a whole one that ends early', () => {
    assert.match(compareWithTruth([whole[0], whole[2]], false, truth, glibc)!, /frame 1/);
    assert.match(compareWithTruth(whole.slice(0, 5), true, truth, glibc)!, /2 frames short/);
    assert.match(compareWithTruth(whole.slice(0, 2), true, truth, glibc)!, /5 frames short/);
  });

  it('allows inside the leaf what the recipe names, and nothing else', () => {
    const inside = [frame(5, 'clock_gettime@@GLIBC_2.17'), ...whole];
    assert.equal(compareWithTruth(inside, true, truth, { libc: 'glibc', above: ['clock_gettime'] }), undefined);
    assert.equal(compareWithTruth(inside, true, truth, { libc: 'glibc', above: 'any' }), undefined);
    assert.match(compareWithTruth(inside, true, truth, glibc)!, /clock_gettime/);
    assert.equal(compareWithTruth(inside.slice(0, 1), false, truth, { libc: 'glibc', above: 'any' }), undefined);
    assert.match(compareWithTruth(inside.slice(0, 1), true, truth, { libc: 'glibc', above: 'any' })!, /no frame/);
  });

  it('checks addresses alone where there are no names, and names alone where there are no addresses', () => {
    const nameless = whole.map(({ address }, i) => ({ address, names: i === 0 ? ['leaf'] : [] }));
    assert.equal(compareWithTruth(nameless, true, truth, glibc), undefined);
    assert.notEqual(compareWithTruth(nameless.toSpliced(2, 1), true, truth, glibc), undefined);
    const names: StackTruth = { ...truth, root: 'none', names: ['leaf', null, 'main'], returns: [] };
    assert.equal(compareWithTruth([whole[0], whole[1], whole[3]], true, names, glibc), undefined);
    assert.notEqual(compareWithTruth([whole[0], whole[1], whole[1]], true, names, glibc), undefined);
  });
});

describe('compareWithUnwinder', () => {
  const reference = { tid: 1, frames: whole.map(({ address, names }) => ({ address, exact: false, name: names[0] })) };

  it('demands equal addresses and equal length of two whole stacks', () => {
    assert.equal(compareWithUnwinder(whole, true, reference), undefined);
    assert.match(compareWithUnwinder(whole.with(0, frame(11, 'leaf')), true, reference)!, /frame 0/);
    assert.match(compareWithUnwinder(whole.slice(0, 3), true, reference)!, /before the reference/);
    assert.match(compareWithUnwinder([...whole, frame(70, 'x')], true, reference)!, /beyond the reference/);
  });

  it('lets either be cut where it says so', () => {
    assert.equal(compareWithUnwinder(whole.slice(0, 3), false, reference), undefined);
    const cut = { ...reference, frames: reference.frames.slice(0, 3), gaveUp: 'no unwind information' };
    assert.equal(compareWithUnwinder(whole, true, cut), undefined);
  });
});

describe('plainName', () => {
  const cases: [string, string][] = [
    ['leaf', 'leaf'],
    ['leaf.constprop.0', 'leaf'],
    ['leaf.part.0.isra.0', 'leaf'],
    ['__libc_start_main@@GLIBC_2.34', '__libc_start_main'],
    ['shapes::Circle::visit(int) const', 'shapes::Circle::visit'],
    ['std::function<int (int)>::operator()(int) const', 'std::function<int (int)>::operator()'],
    ['run(void (*)(int), char const*)', 'run'],
    ['tree::main::h14d00f1d3ebc8784', 'tree::main'],
    ['<tree::Sum as tree::Expression>::evaluate', '<tree::Sum as tree::Expression>::evaluate'],
    ['runtime.asmcgocall.abi0', 'runtime.asmcgocall'],
    ['main.(*large).visit', 'main.(*large).visit'],
    ['slices.partitionOrdered[go.shape.string]', 'slices.partitionOrdered[...]'],
    ['__GI___libc_write', '__libc_write'],
  ];
  for (const [name, plain] of cases) it(name, () => assert.equal(plainName(name), plain));
});
