// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { FEATURES } from '@plumbline/bpf';
import { compareReleases, documentedFeatures, KERNELS } from './kernels.ts';
import { tableOf } from './last-run.ts';
import { decodeReport, encodeReport, type Report } from './report.ts';

it('releases are compared by their numbers', () => {
  const releases = ['6.12', '5.10', '5.9', '6.1', '5.10.1', '7.2'];
  assert.deepEqual(releases.sort(compareReleases), ['5.9', '5.10', '5.10.1', '6.1', '6.12', '7.2']);
  assert.equal(compareReleases('5.10', '5.10.0'), 0);
});

it('a kernel is documented to have what came before it and with it', () => {
  const of = (series: string) => documentedFeatures(series, FEATURES);
  assert.ok(of('5.10').includes('ringBuffer') && !of('5.10').includes('cgroupMemoryAccounting'));
  assert.ok(of('5.17').includes('loop') && !of('5.16').includes('loop'));
  assert.deepEqual(of('99.0'), Object.keys(FEATURES));
});

it('packages of a series are told from its neighbours and variants', () => {
  const of = (series: string) => KERNELS.find((kernel) => kernel.series === series)!.packages;
  for (const [series, name, fits] of [
    ['5.10', 'linux-image-5.10.0-32-amd64', true],
    ['5.10', 'linux-image-5.10.0-32-rt-amd64', false],
    ['5.10', 'linux-image-5.10.0-32-cloud-amd64', false],
    ['6.1', 'linux-image-6.12.117+deb13-amd64', false],
    ['6.1', 'linux-image-6.1.0-50-amd64', true],
    ['6.12', 'linux-image-6.12.117+deb13-amd64', true],
    ['6.12', 'linux-image-6.12.117+deb13-amd64-dbg', false],
    ['7.2', 'linux-image-7.2.13+deb14-amd64', true],
  ] as const) {
    assert.equal(of(series).test(name), fits, `${name} as ${series}`);
  }
});

it('a report survives the line, and noise around it is passed over', () => {
  const report: Report = {
    kind: 'shortLived',
    strategy: 'loop',
    summary: { fired: 1, outcomes: { complete: 1 }, reasons: [], deepest: 3, strategy: 'loop' },
    samples: { complete: 1 },
  };
  const line = encodeReport(report);
  assert.deepEqual(decodeReport(line), report);
  assert.deepEqual(decodeReport(line.replace('\n', '\r')), report);
  assert.equal(decodeReport('[    0.1] some message of the kernel'), undefined);
  assert.throws(() => decodeReport(line.slice(0, line.length / 2)));
});

it('the table has a line per fixture and a column per strategy', () => {
  const kernel = { series: '6.1', suite: 'x', release: '6.1.0', chosen: 'loop', framesPerProgram: 0, features: [] };
  const strategies = { loop: { fixtures: { 'a 3': 'complete' } }, tailCall: { fixtures: {} } };
  assert.deepEqual(tableOf({ kernels: [{ ...kernel, strategies }] }).split('\n'), [
    '| fixture and depth | 6.1 loop | 6.1 tailCall |',
    '| --- | --- | --- |',
    '| a 3 | complete | not run |',
  ]);
});
