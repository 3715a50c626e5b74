// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Cause, Explanation } from '../explain/explanation.ts';
import type { WorkloadSummary } from '../explain/workload-summary.ts';
import { renderOverview } from './overview-page.ts';

const workload = (
  name: string,
  samples: number,
  truncated: number,
  more: Partial<WorkloadSummary> = {},
): WorkloadSummary => ({
  ...{ workload: name, policy: 'standard', samples, truncated, recovered: 0, depth: 12 },
  ...{ truncatedRatio: truncated / samples, ...(truncated > 0 && { topReason: 'frame_limit' }) },
  ...more,
});
const CAUSE: Cause = {
  ...{
    reason: 'frame_limit',
    samples: 60,
    share: 0.1,
    meaning: 'the stack is deep',
    advice: 'raise spec.unwinding.maxFrames',
  },
  ...{
    concern: 'policy',
    files: [],
    newerKernel: [],
    processes: [{ workload: 'shop/api', program: 'api', pid: 7, samples: 60 }],
  },
  policies: [{ name: 'standard', maxFrames: 64, spill: 'Auto', samples: 60 }],
};
const EXPLANATION: Explanation = {
  ...{ kernel: '6.18', strategy: 'loop', samples: 600, truncated: 60, recovered: 5, truncatedRatio: 0.1 },
  ...{ causes: [CAUSE], lost: [{ reason: 'ring_full', samples: 3, meaning: '', advice: 'lower the frequency' }] },
};

function page(
  workloads: WorkloadSummary[],
  explanation = EXPLANATION,
): { text: string; rows: string[]; verdict: string } {
  const html = renderOverview({ facts: [], problems: [], workloads, explanation, objective: () => 0.02 });
  const plain = (part: string) =>
    part
      .replace(/<[^>]+>/g, ' ')
      .replace(/\s+/g, ' ')
      .trim();
  return {
    text: plain(html.slice(html.indexOf('<main>'))),
    rows: [...html.matchAll(/<tr class="([^"]+)">\s*<td>(.*?)<\/td>/g)].map(
      ([, state, name]) => `${plain(name)} ${state}`,
    ),
    verdict: plain(/<p class="verdict.*?<\/p>/.exec(html)?.[0] ?? ''),
  };
}

test('workloads above their objective come first, by how much is lost, and the few samples of others do not count', () => {
  const { rows, verdict } = page([
    workload('big', 10_000, 150),
    workload('shop/api', 400, 60),
    workload('tiny', 4, 4),
    workload('good', 500, 0),
    workload('worse', 100, 90),
  ]);
  assert.deepEqual(rows, ['worse bad', 'shop/api bad', 'big some', 'tiny some few', 'good good']);
  assert.match(verdict, /^worse : 90\.0 % of its stacks are cut, policy standard promises at most 2\.0 %\./);
  assert.match(
    verdict,
    /frame_limit : raise spec\.unwinding\.maxFrames of policy standard \(64\); at most 4096\. 1 more workload is above/,
  );
});

test('it says so where all is well, and where nothing was sampled', () => {
  const calm: Explanation = { ...EXPLANATION, truncated: 0, truncatedRatio: 0, causes: [], lost: [] };
  const { verdict, text } = page([workload('good', 500, 0)], calm);
  assert.match(verdict, /^Every workload keeps its promise/);
  assert.doesNotMatch(text, /Why stacks are cut/);
  assert.equal(page([], calm).verdict, 'No user stacks were sampled yet.');
});

test('causes and losses are told with advice', () => {
  const { text } = page([workload('shop/api', 400, 60, { usual: { truncatedRatio: 0.0125, depth: 20 } })]);
  assert.match(text, /frame_limit 10\.0 % of all stacks, 60 samples\. The stack is deep\./);
  assert.match(text, /shop\/api: api \(pid 7\)/);
  assert.match(text, /3 samples were lost: ring_full \. Lower the frequency\./);
  assert.match(text, /15\.0 % 2\.0 % 1\.3 % 400/, 'cut, promised, usual, sampled');
});

test('names are text', () => {
  const html = renderOverview({
    facts: [{ name: '<a>', value: '"&"' }],
    problems: [],
    workloads: [workload('<img src=x>/"y"', 400, 60, { policy: '<pol>', topReason: '<r>' })],
    explanation: {
      ...EXPLANATION,
      causes: [
        {
          ...CAUSE,
          reason: '<r>',
          files: [{ path: '<f>', buildId: '<bid>', samples: 1, pages: [], functions: ['<g>'] }],
          concern: 'file',
        },
      ],
    },
    objective: () => 0,
  });
  assert.doesNotMatch(html, /<(img|pol|r>|f>|bid|g>|a>)/);
  assert.match(html, /href="\/flame\?workload=%3Cimg%20src%3Dx%3E%2F%22y%22"/);
});
