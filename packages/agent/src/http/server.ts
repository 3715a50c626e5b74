// SPDX-License-Identifier: Apache-2.0
/** What the agent serves: metrics, its health, and the profiles of the last minutes, as a page and for machines. */
import type { AddressInfo } from 'node:net';
import { promisify } from 'node:util';
import { constants, gzip } from 'node:zlib';
import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import type { ListenAddress } from '../config/agent-settings.ts';
import { AgentError } from '../errors.ts';
import { explainProfile } from '../explain/explanation.ts';
import { summarizeWorkloads } from '../explain/workload-summary.ts';
import { buildFlameData } from '../export/flame-graph/flame-tree.ts';
import { PAGE_SECURITY_POLICY, renderPage } from '../export/flame-graph/page.ts';
import { encodeFolded } from '../export/folded.ts';
import { encodeOtlpJson } from '../export/otlp-json.ts';
import { encodePprof } from '../export/pprof.ts';
import type { Logger } from '../log.ts';
import { addCompleteness, type CompletenessOptions, explainContext } from './completeness.ts';
import type { Health } from './health.ts';
import { OVERVIEW_SECURITY_POLICY, renderOverview } from './overview-page.ts';
import { type ProfileQuery, readProfileQuery } from './profile-query.ts';
import type { RecentProfiles } from './recent-profiles.ts';

export interface HttpServerOptions extends Pick<CompletenessOptions, 'explain' | 'usual'> {
  readonly listen: ListenAddress;
  readonly metrics: { readonly contentType: string; text(): Promise<string> };
  readonly health: Health;
  readonly recent: RecentProfiles;
  /** Reason → what it means to a person. */
  readonly sentences: ReadonlyMap<string, string>;
  /** Truncated ratio that a policy promises; absent: the overview compares with none. */
  readonly objective?: (policy: string) => number | undefined;
  /** For the head of the page, asked at each view: node, strategy, frequency. */
  readonly facts: () => { readonly name: string; readonly value: string }[];
  /** How often the page asks for newer samples. */
  readonly refreshSeconds: number;
  readonly version: string;
  readonly log: Logger;
}

export interface HttpServer {
  /** As `host:port`, with the port that was taken. */
  readonly address: string;
  close(): Promise<void>;
}

/** Throws an AgentError of code `listen_failed`. */
export async function startHttpServer(options: HttpServerOptions): Promise<HttpServer> {
  // A node with thousands of stacks takes a second of CPU to draw: one at a time, and nobody waits for ever.
  const app = fastify({
    logger: false,
    requestTimeout: 10_000,
    connectionTimeout: 60_000,
    bodyLimit: 1024,
    frameworkErrors: (error, request, reply) => replyWithError(error, request, reply, options.log),
  });
  app.addHook('onSend', async (_request, reply) => {
    reply.header('x-content-type-options', 'nosniff');
    reply.header('referrer-policy', 'no-referrer');
    if (!reply.hasHeader('cache-control')) reply.header('cache-control', 'no-store');
  });
  app.setErrorHandler((error, request, reply) => replyWithError(error, request, reply, options.log));
  app.setNotFoundHandler((_request, reply) => {
    reply.code(404).send({
      error: {
        code: 'not_found',
        message:
          'there is /, /flame, /api/profile, /api/flame, /api/workloads, /api/explain, /metrics, /healthz and /readyz',
      },
    });
  });
  addHealth(app, options);
  addProfiles(app, options);
  addCompleteness(app, options);
  app.get('/metrics', async (_request, reply) => {
    reply.type(options.metrics.contentType);
    return options.metrics.text();
  });

  const { host, port } = options.listen;
  try {
    await app.listen({ port, ...(host === '' ? { host: '::' } : { host }) });
  } catch (thrown) {
    await app.close();
    throw listenError(thrown, options.listen);
  }
  const bound = app.server.address() as AddressInfo;
  const address = bound.family === 'IPv6' ? `[${bound.address}]:${bound.port}` : `${bound.address}:${bound.port}`;
  return { address, close: () => app.close() };
}

function addHealth(app: FastifyInstance, { health }: HttpServerOptions): void {
  app.get('/healthz', async (_request, reply) => {
    const problems = health.problems('live');
    reply.code(problems.length === 0 ? 200 : 503);
    return { live: problems.length === 0, problems };
  });
  app.get('/readyz', async (_request, reply) => {
    const problems = [...health.problems('live'), ...health.problems('ready')];
    reply.code(problems.length === 0 ? 200 : 503);
    return { ready: problems.length === 0, problems, notices: health.problems('notice') };
  });
}

const CONTENT_TYPES = {
  folded: 'text/plain; charset=utf-8',
  pprof: 'application/octet-stream',
  json: 'application/json; charset=utf-8',
} as const;

function addProfiles(app: FastifyInstance, options: HttpServerOptions): void {
  const { recent, version } = options;
  const oneAtATime = serializer();

  app.get<{ Querystring: Record<string, unknown> }>('/api/profile', async (request, reply) => {
    const query = readProfileQuery(request.query, recent.windowMs);
    reply.type(CONTENT_TYPES[query.format]);
    return oneAtATime(async () => {
      const profile = recent.since(query);
      if (query.format === 'pprof') {
        reply.header('content-disposition', 'attachment; filename="plumbline.pb.gz"');
        return Buffer.from(await encodePprof(profile));
      }
      const text = query.format === 'json' ? encodeOtlpJson(profile, { scopeVersion: version }) : encodeFolded(profile);
      return compressed(request, reply, text);
    });
  });

  const factsOf = (sinceMs: number) => {
    const left = recent.leftOut;
    return [
      { name: 'window', value: `last ${windowText(sinceMs)}` },
      ...options.facts(),
      ...(left > 0 ? [{ name: 'not shown for want of memory', value: `${left} samples` }] : []),
    ];
  };
  const flameData = (query: Pick<ProfileQuery, 'sinceMs' | 'select' | 'workload'>) => {
    const profile = recent.since(query);
    const title = query.workload === undefined ? 'Plumbline' : `Plumbline: ${query.workload}`;
    const facts = factsOf(query.sinceMs);
    return buildFlameData([profile], { title, facts, sentences: options.sentences, maxNodes: 100_000 });
  };
  app.get<{ Querystring: Record<string, unknown> }>('/api/flame', async (request, reply) => {
    const query = readProfileQuery(request.query, recent.windowMs);
    reply.type(CONTENT_TYPES.json);
    return oneAtATime(async () => compressed(request, reply, JSON.stringify(flameData(query))));
  });
  app.get<{ Querystring: Record<string, unknown> }>('/flame', async (request, reply) => {
    const query = readProfileQuery(request.query, recent.windowMs);
    reply.type('text/html; charset=utf-8');
    reply.header('content-security-policy', `${PAGE_SECURITY_POLICY}; frame-ancestors 'none'`);
    const asked = request.url.includes('?') ? request.url.slice(request.url.indexOf('?')) : '';
    return oneAtATime(async () => {
      const page = { refreshUrl: `/api/flame${asked}`, refreshSeconds: options.refreshSeconds, homeUrl: '/' };
      return compressed(request, reply, renderPage(flameData(query), page));
    });
  });
  app.get('/', async (request, reply) => {
    reply.type('text/html; charset=utf-8');
    reply.header('content-security-policy', OVERVIEW_SECURITY_POLICY);
    return oneAtATime(async () => {
      const profile = recent.since({ sinceMs: recent.windowMs });
      const page = renderOverview({
        facts: factsOf(recent.windowMs),
        problems: options.health.problems('ready'),
        workloads: summarizeWorkloads(profile, options.usual),
        explanation: explainProfile(profile, explainContext(options)),
        objective: options.objective ?? (() => undefined),
      });
      return compressed(request, reply, page);
    });
  });
}

/** Runs tasks one after the other, in the order in which they came. */
function serializer(): <T>(task: () => Promise<T>) => Promise<T> {
  let last: Promise<unknown> = Promise.resolve();
  return (task) => {
    const next = last.then(task);
    last = next.catch(() => {});
    return next;
  };
}

/** Gzip from a few kilobytes on, where the client takes it. */
async function compressed(request: FastifyRequest, reply: FastifyReply, text: string): Promise<string | Buffer> {
  if (text.length < 4096 || !/\bgzip\b/.test(request.headers['accept-encoding'] ?? '')) return text;
  reply.header('content-encoding', 'gzip');
  reply.header('vary', 'accept-encoding');
  return promisify(gzip)(text, { level: constants.Z_BEST_SPEED });
}

function replyWithError(thrown: unknown, request: FastifyRequest, reply: FastifyReply, log: Logger): void {
  const { statusCode } = thrown as { statusCode?: number };
  const isUsage = thrown instanceof AgentError && thrown.code === 'usage';
  if (isUsage || (statusCode !== undefined && statusCode < 500)) {
    const message = (thrown as Error).message;
    reply
      .code(isUsage ? 400 : (statusCode ?? 400))
      .type(CONTENT_TYPES.json)
      .send({ error: { code: 'bad_request', message } });
    return;
  }
  const error = AgentError.from(thrown);
  log.error('request failed', { path: request.url, error: thrown });
  reply.code(500).type(CONTENT_TYPES.json).send({ error: error.toJSON() });
}

function windowText(ms: number): string {
  return ms % 60_000 === 0 ? `${ms / 60_000} min` : `${Math.round(ms / 1000)} s`;
}

function listenError(thrown: unknown, { host, port }: ListenAddress): AgentError {
  const { code, message } = thrown as NodeJS.ErrnoException;
  const address = `${host === '' ? '*' : host}:${port}`;
  const reasons: Readonly<Record<string, readonly [string, string]>> = {
    EADDRINUSE: ['it is in use', 'end the other program, or set agent.listen to another port'],
    EACCES: ['not permitted', 'set agent.listen to a port above 1023'],
    EADDRNOTAVAIL: ['no interface has this address', 'set agent.listen to an address of this machine'],
    ENOTFOUND: ['there is no such host', 'set agent.listen to an address of this machine'],
  };
  const [reason, remedy] = reasons[code ?? ''] ?? [message, 'set agent.listen to another address'];
  return new AgentError('listen_failed', `cannot listen on ${address}: ${reason}`, remedy, { cause: thrown });
}
