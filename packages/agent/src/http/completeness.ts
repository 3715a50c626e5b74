// SPDX-License-Identifier: Apache-2.0
/** How complete the stacks of the last minutes are, as JSON: `/api/workloads`, and why not, `/api/explain`. */
import type { FastifyInstance } from 'fastify';
import { type ExplainContext, explainProfile } from '../explain/explanation.ts';
import { explanationLines, explanationSummary } from '../explain/explanation-text.ts';
import { summarizeWorkloads, type Usual } from '../explain/workload-summary.ts';
import { readProfileQuery } from './profile-query.ts';
import type { RecentProfiles } from './recent-profiles.ts';

export interface CompletenessOptions {
  readonly recent: RecentProfiles;
  /** Asked at each request; absent: `/api/explain` names neither limits nor kernels. */
  readonly explain?: () => ExplainContext;
  readonly usual?: (policy: string, workload: string) => Usual | undefined;
  /** Reason → what it means to a person. */
  readonly sentences: ReadonlyMap<string, string>;
}

export function addCompleteness(app: FastifyInstance, options: CompletenessOptions): void {
  const { recent, usual } = options;
  const context = () => explainContext(options);

  app.get<{ Querystring: Record<string, unknown> }>('/api/explain', async (request) => {
    const query = readProfileQuery(request.query, recent.windowMs);
    const explanation = explainProfile(recent.since(query), context());
    const summary = explanationSummary(explanation);
    const what = query.workload ?? (query.pid === undefined ? 'this node' : `pid ${query.pid}`);
    return { ...explanation, ...(summary && { summary }), text: explanationLines(explanation, what).join('\n') };
  });

  app.get<{ Querystring: Record<string, unknown> }>('/api/workloads', async (request) => {
    const query = readProfileQuery(request.query, recent.windowMs);
    return { windowMs: query.sinceMs, workloads: summarizeWorkloads(recent.since(query), usual) };
  });
}

export function explainContext({
  explain,
  sentences,
}: Pick<CompletenessOptions, 'explain' | 'sentences'>): ExplainContext {
  return explain?.() ?? { kernel: '', strategy: '', kernelLimits: [], policies: [], sentences };
}
