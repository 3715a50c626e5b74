// SPDX-License-Identifier: Apache-2.0
/** `/healthz`, `/readyz` and `/metrics`. */
import fastify, { type FastifyInstance } from 'fastify';
import type { OperatorMetrics } from './metrics.ts';

export interface HttpOptions {
  host: string;
  port: number;
  metrics: OperatorMetrics;
  /** What keeps the process from being healthy: kubelet restarts it. */
  unhealthy: () => string[];
  /** What keeps it from being ready. */
  unready: () => string[];
}

/** Resolves when it listens. Close it to stop. */
export async function serveHttp({ host, port, metrics, unhealthy, unready }: HttpOptions): Promise<FastifyInstance> {
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
  await server.listen({ host, port });
  return server;
}
