// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ADVICE } from '@plumbline/api';
import { type OverviewData, renderOverview } from './overview-page.ts';
import type { NodeConfigView, PolicyView } from './views.ts';

const policy = (name: string, ratio: string | undefined, met: 'True' | 'False', more: object = {}): PolicyView => ({
  ...{ name, uid: name, generation: 1, creationTimestamp: '2026-01-01T00:00:00Z' },
  spec: { target: { allPods: true }, objective: { truncatedRatio: '0.02' } },
  status: {
    nodes: { targeted: 3, updated: 3, applied: 2, failed: 0, notReporting: 1 },
    ...(ratio !== undefined && {
      truncation: {
        ratio,
        worstWorkload: `${name}/api`,
        topReason: 'no_unwind_info',
        topFile: '/opt/libfoo.so (build id abcd)',
        baselineRatio: '0.01',
      },
    }),
    conditions: [
      {
        ...{ type: 'ObjectiveMet', status: met, lastTransitionTime: '2026-01-01T00:00:00Z', observedGeneration: 1 },
        ...{ reason: 'x', message: met === 'True' ? 'kept' : 'build it with tables' },
      },
    ],
    ...more,
  } as PolicyView['status'],
});

const node = (name: string, truncated: number, status: object = {}): NodeConfigView =>
  ({
    name,
    status: {
      ...{
        strategy: 'Loop',
        kernel: '6.1.0-50-amd64',
        kernelSeries: '6.1',
        lastHeartbeat: 1,
        kernelLimits: [{ feature: 'taskWork', since: '6.18' }],
      },
      policies: new Map([
        [
          'p',
          {
            bucket: 'Ok',
            samples: 1000,
            truncated,
            worstWorkload: 'shop/api',
            topReason: 'read_fault',
            overriddenPods: 0,
          },
        ],
      ]),
      ...status,
    },
  }) as unknown as NodeConfigView;

function page(data: Partial<OverviewData>) {
  const html = renderOverview({ policies: [], configs: [], ...data });
  const plain = (part: string) =>
    part
      .replace(/<[^>]+>/g, ' ')
      .replace(/\s+/g, ' ')
      .trim();
  return {
    html,
    text: plain(html.slice(html.indexOf('<main>'))),
    verdict: plain(/<p class="verdict.*?<\/p>/.exec(html)?.[0] ?? ''),
  };
}

test('the policy that misses its objective most comes first, with its workload and advice', () => {
  const { verdict, text } = page({
    policies: [policy('calm', '0.03', 'True'), policy('shop', '0.1', 'False'), policy('bank', '0.4', 'False')],
    configs: [node('n1', 400), node('n2', 0)],
  });
  assert.equal(
    verdict,
    'Policy bank : 40.0 % of its stacks are cut, it promises at most 2.0 %. bank/api has the most. ' +
      `Mostly no_unwind_info in /opt/libfoo.so (build id abcd): ${ADVICE.no_unwind_info.todo}.`,
  );
  assert.match(text, /2 of 3 policies miss their objective 20\.0 % of stacks are cut 2 of 2 nodes with an agent/);
  assert.ok(
    text.indexOf('bank 40.0 %') < text.indexOf('shop 10.0 %') &&
      text.indexOf('shop 10.0 %') < text.indexOf('calm 3.0 %'),
  );
  assert.match(text, /2 of 3 1 not reporting/);
});

test('nodes in trouble come before those with the most cut stacks; calm ones are left out', () => {
  const { text } = page({
    policies: [policy('p', undefined, 'True')],
    configs: [
      node('good', 0),
      node('cut', 90),
      node('ill', 10, { degraded: { reason: 'ExportFailing', message: 'no receiver' } }),
    ],
  });
  const nodes = text.slice(text.indexOf('Nodes, worst first'), text.indexOf('Nodes by strategy'));
  assert.match(nodes, /ill 1\.0 % shop\/api read_fault Loop, 6\.1\.0-50-amd64 ExportFailing : no receiver cut 9\.0 %/);
  assert.ok(!nodes.includes('good'));
  assert.match(text, /Loop 6\.1 3 taskWork \(6\.18\)/);
});

test('it says so where nothing is profiled, and where all is well', () => {
  assert.equal(page({}).verdict, 'There is no ProfilingPolicy: nothing is profiled.');
  assert.equal(page({ policies: [policy('p', '0.001', 'True')] }).verdict, 'No policy misses its objective.');
});

test('names are text, and a spec that does not fit is no obstacle', () => {
  const bad = policy('<img>', '0.5', 'False');
  const { html } = page({ policies: [{ ...bad, spec: { target: 1 } }], configs: [node('<i>', 500)] });
  assert.ok(html.includes('&lt;img&gt;') && html.includes('&lt;i&gt;') && !/<(img|i)>/.test(html));
});
