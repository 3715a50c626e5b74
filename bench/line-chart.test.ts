// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { lineChart } from './line-chart.ts';

const points = (svg: string) =>
  [...svg.matchAll(/<circle cx="([\d.]+)" cy="([\d.]+)"/g)].map(([, x, y]) => [Number(x), Number(y)]);

test('equal factors are equal distances', () => {
  const series = {
    name: 'a <b>',
    color: 'red',
    points: [
      [16, 1000],
      [64, 2000],
      [256, 4000],
    ] as [number, number][],
  };
  const svg = lineChart({ title: 't', x: 'x', y: 'y', series: [series] });
  const [[x0, y0], [x1, y1], [x2, y2]] = points(svg);
  assert.ok(Math.abs(x1 - x0 - (x2 - x1)) < 0.2 && x1 > x0);
  assert.ok(Math.abs(y0 - y1 - (y1 - y2)) < 0.2 && y1 < y0);
  assert.ok(svg.includes('a &lt;b>'));
});

test('the axes end at whole powers around the values', () => {
  const svg = lineChart({
    title: 't',
    x: 'x',
    y: 'y',
    series: [
      {
        name: 'a',
        color: 'red',
        points: [
          [16, 1000],
          [4096, 52_000],
        ],
      },
    ],
  });
  const texts = [...svg.matchAll(/<text [^>]*>([^<]*)</g)].map(([, text]) => text);
  for (const tick of ['16', '4,096', '1,000', '100,000']) assert.ok(texts.includes(tick), tick);
  for (const tick of ['8', '8,192', '100', '1,000,000']) assert.ok(!texts.includes(tick), tick);
});
