// SPDX-License-Identifier: Apache-2.0
/** `/healthz`, `/readyz`, `/metrics`, and the page of the cluster. */
import fastify, { type FastifyInstance } from 'fastify';
import type { OperatorMetrics } from './metrics.ts';
import { OVERVIEW_SECURITY_POLICY, type OverviewData, renderOverview } from './overview-page.ts';

export interface HttpOptions {
  host: string;
  port: number;
  metrics: OperatorMetrics;
  /** What keeps the process from being healthy: kubelet restarts it. */
  unhealthy: () => string[];
  /** What keeps it from being ready. */
  unready: () => string[];
  overview: () => OverviewData;
}

/** Resolves when it listens. Close it to stop. */
export async function serveHttp(options: HttpOptions): Promise<FastifyInstance> {
  const { host, port, metrics, unhealthy, unready, overview } = options;
  const server = fastify({ logger: false, forceCloseConnections: true });
  const probe = (path: string, problems: () => string[]) =>
    server.get(path, (_request, reply) => {
      const found = problems();
      return reply
        .code(found.length === 0 ? 200 : 503)
        .type('text/plain; charset=utf-8')
        .send(found.length === 0 ? 'ok\n' : `${found.join('\n')}\n`);
    });
  probe('/healthz', unhealthy);
  probe('/readyz', unready);
  server.get('/metrics', async (_request, reply) =>
    reply.type(metrics.registry.contentType).send(await metrics.registry.metrics()),
  );
  server.get('/', async (_request, reply) =>
    reply
      .type('text/html; charset=utf-8')
      .header('content-security-policy', OVERVIEW_SECURITY_POLICY)
      .header('x-content-type-options', 'nosniff')
      .header('cache-control', 'no-store')
      .send(renderOverview(overview())),
  );
  await server.listen({ host, port });
  return server;
}
