// SPDX-License-Identifier: Apache-2.0
/**
 * Requests to the API server over connections that are kept: rate-limited on this side, retried where it is safe, and
 * silent for as long as the server asks.
 */
import { STATUS_CODES } from 'node:http';
import type { Dispatcher } from 'undici';
import type { ClusterAccess, Credentials } from './access.ts';
import { ApiError } from './api-error.ts';
import { Backoff } from './backoff.ts';
import { type Clock, systemClock } from './clock.ts';
import { Connections } from './connections.ts';
import { type KubeMetrics, noMetrics } from './metrics.ts';
import { TokenBucket } from './token-bucket.ts';
import { jsonLines } from './watch-stream.ts';

export type Query = Record<string, string | number | boolean | undefined>;

export interface ApiRequest {
  method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  /** Such as `/api/v1/nodes`. */
  path: string;
  query?: Query;
  /** Sent as JSON. */
  body?: unknown;
  contentType?: string;
  accept?: string;
  signal?: AbortSignal;
  /** Deadline of one attempt in milliseconds. */
  timeoutMs?: number;
  /**
   * Whether the request may be sent again when it is unknown if the first one arrived. Default: GET. Refusals (429, and
   * 503 with Retry-After) are always retried, because the server did nothing.
   */
  idempotent?: boolean;
  /** Attempts in all. */
  attempts?: number;
  /** What metrics call it. Default: the method; LIST, WATCH and APPLY say more. */
  verb?: string;
}

export interface TransportOptions {
  access: ClusterAccess;
  /** Such as `plumbline-operator/0.1.0`. */
  userAgent: string;
  /** Requests per second on average. */
  qps?: number;
  /** Requests at once. */
  burst?: number;
  /** Connections for requests; every watch has one of its own. */
  connections?: number;
  /** Called right before a write leaves; throws to keep it back (a leader that may have lost its lease). */
  beforeWrite?: () => void;
  metrics?: KubeMetrics;
  clock?: Clock;
  random?: () => number;
}

const REQUEST_TIMEOUT_MS = 30_000;
const MAX_RESPONSE_BYTES = 256 * 2 ** 20;
const CERTIFICATE_ERRORS = /^(CERT_|UNABLE_TO_|SELF_SIGNED|DEPTH_ZERO|ERR_TLS_CERT|ERR_SSL)/;

export class Transport {
  readonly #options: Required<Omit<TransportOptions, 'beforeWrite'>> & Pick<TransportOptions, 'beforeWrite'>;
  readonly #host: string;
  /** Path prefix of the server URL, for API servers behind a proxy. */
  readonly #prefix: string;
  readonly #origin: string;
  readonly #bucket: TokenBucket;
  readonly #connections: Connections;
  /** No request leaves before this time on the clock: the server asked for silence. */
  #silentUntil = 0;

  constructor(options: TransportOptions) {
    this.#options = {
      qps: 20,
      burst: 30,
      connections: 16,
      metrics: noMetrics,
      clock: systemClock,
      random: Math.random,
      ...options,
    };
    const url = new URL(options.access.server);
    this.#host = url.host;
    this.#origin = url.origin;
    this.#prefix = url.pathname.replace(/\/+$/, '');
    this.#bucket = new TokenBucket(this.#options.qps, this.#options.burst, this.#options.clock);
    this.#connections = new Connections(this.#options.connections);
  }

  /** The parsed JSON of the answer. Throws {@link ApiError} for any status but 2xx, and network errors as they come. */
  async request<T>(request: ApiRequest): Promise<T> {
    const { clock, random, metrics } = this.#options;
    const attempts = request.attempts ?? 5;
    const backoff = new Backoff({ initial: 200, max: 5_000, random });
    for (let attempt = 1; ; attempt++) {
      try {
        await this.#admit(request);
        return await this.#send<T>(request);
      } catch (error) {
        if (request.signal?.aborted || attempt >= attempts || !this.#mayRetry(request, error)) throw error;
        metrics.requestRetried({ verb: verbOf(request), host: this.#host, code: codeOf(error) });
        await clock.sleep(backoff.next(), request.signal);
      }
    }
  }

  /**
   * The events of a watch, until the server ends it. `idleMs` without a byte is an error: connections die silently.
   * Never retries.
   */
  async *watch(request: {
    path: string;
    query: Query;
    accept?: string;
    signal: AbortSignal;
    idleMs: number;
    /** The server has accepted the watch. */
    onOpen?: () => void;
  }): AsyncGenerator<unknown, void> {
    const watch: ApiRequest = { ...request, method: 'GET', verb: 'WATCH' };
    await this.#admit(watch);
    // A generator that is left early must also end the response, so the abort reaches further than the caller's signal.
    const left = new AbortController();
    const signal = AbortSignal.any([request.signal, left.signal]);
    try {
      const response = await this.#timed(watch, () => this.#dispatch({ ...watch, signal }, request.idleMs));
      request.onOpen?.();
      yield* jsonLines(response.body);
    } finally {
      left.abort();
    }
  }

  /** Closes the connections; requests in flight end with an error. */
  close(): Promise<void> {
    return this.#connections.close();
  }

  /** Waits for the server's silence to end and for the rate limit. */
  async #admit(request: ApiRequest): Promise<void> {
    const { clock, metrics } = this.#options;
    const started = clock.now();
    do {
      await this.#silence(request.signal);
      await this.#bucket.take(request.signal);
    } while (this.#silentUntil > clock.now());
    request.signal?.throwIfAborted();
    metrics.rateLimited({ verb: verbOf(request), host: this.#host, seconds: (clock.now() - started) / 1000 });
  }

  async #silence(signal: AbortSignal | undefined): Promise<void> {
    const { clock, random } = this.#options;
    for (let wait = this.#silentUntil - clock.now(); wait > 0; wait = this.#silentUntil - clock.now()) {
      // Spread over a tenth of the window, so that clients that were refused together do not return together.
      await clock.sleep(wait * (1 + 0.1 * random()), signal);
    }
  }

  async #send<T>(request: ApiRequest): Promise<T> {
    const timeoutMs = request.timeoutMs ?? REQUEST_TIMEOUT_MS;
    const deadline = AbortSignal.timeout(timeoutMs);
    const signal = request.signal ? AbortSignal.any([request.signal, deadline]) : deadline;
    return this.#timed(request, async () => {
      const response = await this.#dispatch({ ...request, signal }, timeoutMs);
      return JSON.parse(await readText(response.body)) as T;
    });
  }

  async #timed<T>(request: ApiRequest, send: () => Promise<T>): Promise<T> {
    const { clock, metrics } = this.#options;
    const started = clock.now();
    let code = '200';
    try {
      return await send();
    } catch (error) {
      code = codeOf(error);
      throw error;
    } finally {
      const seconds = (clock.now() - started) / 1000;
      metrics.requestFinished({ method: request.method, verb: verbOf(request), host: this.#host, code, seconds });
    }
  }

  /** One attempt: resolves with a 2xx response whose body has not been read. */
  async #dispatch(request: ApiRequest, idleMs: number): Promise<Dispatcher.ResponseData> {
    const { access, userAgent, beforeWrite } = this.#options;
    const credentials = await access.credentials();
    const { requests, watches } = this.#connections.pools(credentials.tls);
    if (request.method !== 'GET') beforeWrite?.();
    let response: Dispatcher.ResponseData;
    try {
      response = await (request.verb === 'WATCH' ? watches : requests).request({
        origin: this.#origin,
        path: this.#prefix + request.path + queryText(request.query),
        method: request.method,
        headers: headers(request, credentials, userAgent),
        body: request.body === undefined ? null : JSON.stringify(request.body),
        signal: request.signal,
        headersTimeout: REQUEST_TIMEOUT_MS,
        bodyTimeout: idleMs,
      });
    } catch (error) {
      if (isCertificateError(error)) access.invalidate();
      throw error;
    }
    if (response.statusCode >= 200 && response.statusCode < 300) return response;
    throw await this.#refusal(request, response);
  }

  async #refusal(request: ApiRequest, response: Dispatcher.ResponseData): Promise<ApiError> {
    const text = await readText(response.body).catch(() => '');
    const what = `${request.method} ${request.path}`;
    const error = ApiError.from(
      response.statusCode,
      parsedOr(text, text || STATUS_CODES[response.statusCode]),
      what,
      firstHeader(response.headers['retry-after']),
    );
    if (error.code === 401) this.#options.access.invalidate();
    if (isRefusal(error)) {
      const pause = error.retryAfterMs ?? 1000;
      this.#silentUntil = Math.max(this.#silentUntil, this.#options.clock.now() + pause);
    }
    return error;
  }

  #mayRetry(request: ApiRequest, error: unknown): boolean {
    // A failed handshake carried no request; the certificates have just been forgotten and are read anew.
    if (isRefusal(error) || isCertificateError(error)) return true;
    const idempotent = request.idempotent ?? request.method === 'GET';
    if (!(error instanceof ApiError)) return idempotent && !this.#connections.closed && isNetworkError(error);
    // 401: the token may have been replaced in the meantime; it has just been invalidated.
    return error.code === 401 || (idempotent && error.code >= 500);
  }
}

/** The server did nothing and says when to come back. */
function isRefusal(error: unknown): boolean {
  return error instanceof ApiError && (error.code === 429 || (error.code === 503 && error.retryAfterMs !== undefined));
}

/** The request may or may not have arrived: connection refused, reset, timed out. */
export function isNetworkError(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  return error.name === 'TimeoutError' || typeof (error as { code?: unknown }).code === 'string';
}

function isCertificateError(error: unknown): boolean {
  return CERTIFICATE_ERRORS.test((error as { code?: string } | undefined)?.code ?? '');
}

function headers(request: ApiRequest, { authorization }: Credentials, userAgent: string): Record<string, string> {
  return {
    accept: request.accept ?? 'application/json',
    'user-agent': userAgent,
    ...(authorization !== undefined && { authorization }),
    ...(request.body !== undefined && { 'content-type': request.contentType ?? 'application/json' }),
  };
}

function queryText(query: Query = {}): string {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) if (value !== undefined) parameters.set(name, String(value));
  return parameters.size > 0 ? `?${parameters}` : '';
}

async function readText(body: Dispatcher.ResponseData['body']): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of body as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > MAX_RESPONSE_BYTES) throw new Error(`response larger than ${MAX_RESPONSE_BYTES} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function parsedOr(text: string, fallback: unknown): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return fallback;
  }
}

const firstHeader = (value: string | string[] | undefined) => (Array.isArray(value) ? value[0] : value);
const verbOf = ({ verb, method }: ApiRequest) => verb ?? method;
const codeOf = (error: unknown) => (error instanceof ApiError ? String(error.code) : '<error>');
