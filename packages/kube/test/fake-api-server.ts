// SPDX-License-Identifier: Apache-2.0
/**
 * An API server in the test's own process, for the faults that a real one does not commit on demand. It keeps objects,
 * lists in pages, watches with history, bookmarks and compaction, and counts what it is asked. Everything else is tested
 * against a real API server.
 */
import { randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer, type ServerOptions } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';

export interface FakeObject {
  apiVersion?: string;
  kind?: string;
  metadata: {
    name: string;
    namespace?: string;
    uid: string;
    resourceVersion: string;
    generation?: number;
    creationTimestamp: string;
    [field: string]: unknown;
  };
  [field: string]: unknown;
}

/** How the server misbehaves for one request; undefined: it does not. */
export type Fault =
  | { status: number; headers?: Record<string, string>; body?: unknown }
  /** Never answer. */
  | 'hang'
  /** Reset the connection. */
  | 'reset'
  /** For watches: accept, send these lines, end. */
  | { lines: string[] };

export interface SeenRequest {
  method: string;
  path: string;
  query: URLSearchParams;
  headers: IncomingMessage['headers'];
  /** performance.now() */
  at: number;
}

interface Logged {
  version: number;
  path: string;
  event: { type: string; object: FakeObject };
}

interface Answer {
  code: number;
  body: unknown;
  headers: Record<string, string>;
}

interface Watch {
  path: string;
  query: URLSearchParams;
  response: ServerResponse;
}

/** Shared by all servers of a process, as data outlives a server that restarts. */
let version = 1;

export class FakeApiServer {
  readonly requests: SeenRequest[] = [];
  port = 0;
  /** Connections accepted since the start. */
  connections = 0;
  /** Decides what goes wrong. */
  fault: (request: SeenRequest) => Fault | undefined = () => undefined;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #watches = new Set<Watch>();
  readonly #objects = new Map<string, FakeObject>();
  #log: Logged[] = [];
  #compacted = 0;

  private constructor(tls?: ServerOptions) {
    const handle = (request: IncomingMessage, response: ServerResponse) => void this.#handle(request, response);
    this.#server = tls ? createTlsServer(tls, handle) : createServer(handle);
    this.#server.on(tls ? 'secureConnection' : 'connection', (socket: Socket) => {
      this.connections += 1;
      this.#sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => this.#sockets.delete(socket));
    });
  }

  static async start(options: { tls?: ServerOptions; port?: number } = {}): Promise<FakeApiServer> {
    const fake = new FakeApiServer(options.tls);
    await new Promise<void>((resolve, reject) => {
      fake.#server.once('error', reject);
      fake.#server.listen(options.port ?? 0, '127.0.0.1', resolve);
    });
    fake.port = (fake.#server.address() as AddressInfo).port;
    return fake;
  }

  get url(): string {
    return `${'setSecureContext' in this.#server ? 'https' : 'http'}://127.0.0.1:${this.port}`;
  }

  get openSockets(): number {
    return this.#sockets.size;
  }

  get openWatches(): number {
    return this.#watches.size;
  }

  count(method: string, path: RegExp, query?: string): number {
    return this.requests.filter(
      (request) =>
        request.method === method && path.test(request.path) && (query === undefined || request.query.has(query)),
    ).length;
  }

  get lists(): number {
    return this.requests.filter(
      ({ method, path, query }) => method === 'GET' && isCollection(path) && !query.has('watch'),
    ).length;
  }

  get watches(): number {
    return this.requests.filter(({ query }) => query.has('watch')).length;
  }

  /** Creates or changes an object as another client would. `path` is the object's. */
  put(path: string, object: Record<string, unknown> = {}): FakeObject {
    const old = this.#objects.get(path);
    const name = path.slice(path.lastIndexOf('/') + 1);
    const namespace = /\/namespaces\/([^/]+)\/[^/]+\/[^/]+$/.exec(path)?.[1];
    const specChanged = JSON.stringify(old?.spec) !== JSON.stringify(object.spec);
    const stored: FakeObject = {
      ...object,
      metadata: {
        creationTimestamp: '2026-01-01T00:00:00Z',
        uid: randomUUID(),
        ...old?.metadata,
        ...(object.metadata as object | undefined),
        name,
        ...(namespace !== undefined && { namespace }),
        generation: (old?.metadata.generation ?? 0) + (specChanged ? 1 : 0),
        resourceVersion: String(++version),
      },
    };
    this.#objects.set(path, stored);
    this.#publish(old ? 'MODIFIED' : 'ADDED', path, stored);
    return stored;
  }

  remove(path: string): boolean {
    const old = this.#objects.get(path);
    if (!old) return false;
    this.#objects.delete(path);
    this.#publish('DELETED', path, { ...old, metadata: { ...old.metadata, resourceVersion: String(++version) } });
    return true;
  }

  object(path: string): FakeObject | undefined {
    return this.#objects.get(path);
  }

  /** Everything in a collection. */
  objects(path: string): FakeObject[] {
    return [...this.#objects].filter(([key]) => key.startsWith(`${path}/`)).map(([, object]) => object);
  }

  /** Forgets all history: watches from before get 410. */
  compact(): void {
    this.#compacted = version;
    this.#log = [];
  }

  /** Sends a bookmark to every watch. */
  bookmark(): void {
    const resourceVersion = String(++version);
    for (const watch of this.#watches) send(watch, { type: 'BOOKMARK', object: { metadata: { resourceVersion } } });
  }

  /** Ends every watch as a server does when timeoutSeconds are over. */
  endWatches(): void {
    for (const { response } of this.#watches) response.end();
  }

  /** Cuts every connection. */
  disconnect(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  async stop(): Promise<void> {
    this.disconnect();
    this.#server.closeAllConnections();
    if (this.#server.listening) await new Promise((resolve) => this.#server.close(resolve));
  }

  #publish(type: string, path: string, object: FakeObject): void {
    const logged = { version, path, event: { type, object } };
    this.#log.push(logged);
    for (const watch of this.#watches) if (concerns(watch, logged)) send(watch, logged.event);
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', 'http://x');
    const method = request.method ?? 'GET';
    const seen: SeenRequest = {
      method,
      path: url.pathname,
      query: url.searchParams,
      headers: request.headers,
      at: performance.now(),
    };
    this.requests.push(seen);
    const text = await readBody(request);
    const fault = this.fault(seen);
    if (fault === 'hang') return;
    if (fault === 'reset') request.socket.destroy();
    else if (fault && 'lines' in fault) response.writeHead(200).end(fault.lines.map((line) => `${line}\n`).join(''));
    else {
      const answer = fault
        ? answerOf(fault.status, fault.body ?? status(fault.status, '', 'injected'), fault.headers)
        : this.#answer(seen, text, response);
      if (!answer) return;
      response.writeHead(answer.code, { 'content-type': 'application/json', ...answer.headers });
      response.end(JSON.stringify(answer.body));
    }
  }

  #answer(seen: SeenRequest, text: string, response: ServerResponse): Answer | undefined {
    if (seen.query.has('watch')) return this.#watch(seen, response);
    if (seen.method === 'GET') return this.#get(seen);
    return this.#write(seen.method, seen.path, text === '' ? undefined : (JSON.parse(text) as FakeObject));
  }

  #get({ path, query }: SeenRequest): Answer {
    const object = this.#objects.get(path);
    if (object) return answerOf(200, object);
    if (!isCollection(path)) return answerOf(404, status(404, 'NotFound', `${path} not found`));
    const items = [...this.#objects]
      .filter(([key, item]) => concerns({ path, query }, { path: key, event: { object: item } }))
      .map(([, item]) => item);
    const start = Number(query.get('continue') ?? 0);
    const end = start + Number(query.get('limit') || items.length);
    const metadata = { resourceVersion: String(version), ...(end < items.length && { continue: String(end) }) };
    return answerOf(200, { kind: 'List', metadata, items: items.slice(start, end) });
  }

  #watch({ path, query }: SeenRequest, response: ServerResponse): Answer | undefined {
    const from = Number(query.get('resourceVersion') ?? 0);
    if (from < this.#compacted) return answerOf(410, status(410, 'Expired', 'too old resource version'));
    response.writeHead(200, { 'content-type': 'application/json' });
    response.flushHeaders();
    const watch = { path, query, response };
    this.#watches.add(watch);
    response.on('close', () => this.#watches.delete(watch));
    for (const logged of this.#log) if (logged.version > from && concerns(watch, logged)) send(watch, logged.event);
    return undefined;
  }

  #write(method: string, path: string, body: FakeObject | undefined): Answer {
    if (method === 'POST') {
      const key = `${path}/${body?.metadata.name}`;
      if (this.#objects.has(key)) return answerOf(409, status(409, 'AlreadyExists', `${key} exists`));
      return answerOf(201, this.put(key, body));
    }
    const isStatus = path.endsWith('/status');
    const key = isStatus ? path.slice(0, -'/status'.length) : path;
    const old = this.#objects.get(key);
    if (method === 'DELETE') {
      return this.remove(key) ? answerOf(200, {}) : answerOf(404, status(404, 'NotFound', 'not found'));
    }
    if (!old && (method === 'PUT' || isStatus)) return answerOf(404, status(404, 'NotFound', `${key} not found`));
    const expected = body?.metadata?.resourceVersion;
    if (old && expected !== undefined && expected !== old.metadata.resourceVersion) {
      return answerOf(409, status(409, 'Conflict', 'the object has been modified'));
    }
    const { resourceVersion: _, ...metadata } = body?.metadata ?? {};
    const next = isStatus
      ? { ...old, status: body?.status }
      : method === 'PATCH'
        ? { ...old, ...body, metadata: { ...old?.metadata, ...metadata } }
        : { ...body, metadata };
    if (
      old &&
      JSON.stringify({ ...next, metadata: undefined }) === JSON.stringify({ ...old, metadata: undefined }) &&
      method === 'PATCH'
    ) {
      return answerOf(200, old); // as the real one: applying the same again changes nothing
    }
    return answerOf(old ? 200 : 201, this.put(key, next));
  }
}

/** `/api/v1/nodes` and `/apis/g/v/namespaces/n/leases` are collections; one segment more is an object. */
function isCollection(path: string): boolean {
  const segments = path.split('/').slice(1);
  const rest = segments.slice(segments[0] === 'api' ? 2 : 3);
  return rest.length === 1 || (rest[0] === 'namespaces' && rest.length === 3);
}

function concerns(
  watch: { path: string; query: URLSearchParams },
  logged: { path: string; event: { object: FakeObject } },
): boolean {
  if (!logged.path.startsWith(`${watch.path}/`)) return false;
  const selector = watch.query.get('fieldSelector');
  if (selector === null) return true;
  const [field, value] = selector.split('=');
  const found = field
    .split('.')
    .reduce<unknown>((object, name) => (object as Record<string, unknown>)?.[name], logged.event.object);
  return found === value;
}

function send({ response }: Watch, event: unknown): void {
  response.write(`${JSON.stringify(event)}\n`);
}

function status(code: number, reason: string, message: string) {
  return { kind: 'Status', apiVersion: 'v1', status: 'Failure', code, reason, message };
}

function answerOf(code: number, body: unknown, headers: Record<string, string> = {}): Answer {
  return { code, body, headers };
}

async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString('utf8');
}
