// SPDX-License-Identifier: Apache-2.0
import * as http from 'node:http';
import * as https from 'node:https';
import { promisify } from 'node:util';
import { constants, gunzipSync, gzip } from 'node:zlib';
import type { OtlpTarget } from './otlp-target.ts';
import { type OtlpTransport, readExportResponse, readRpcStatus, type SendResult } from './otlp-transport.ts';
import { TlsMaterialSource } from './tls-material.ts';

/** Answers are small; of a larger one the rest is not read. */
const MAX_RESPONSE = 64 << 10;
/** Level 6 would save 1 to 4 % of the bytes for twice the time. */
const GZIP = { level: constants.Z_BEST_SPEED };
/** Status codes after which OTLP/HTTP allows another try. */
const RETRYABLE = new Set([408, 429, 502, 503, 504]);

/** OTLP over HTTP, protobuf. One connection, kept alive. */
export function createHttpTransport(target: OtlpTarget, now: () => number = Date.now): OtlpTransport {
  const { url, headers, compression, timeoutMs } = target;
  const isSecure = url.protocol === 'https:';
  const tls = new TlsMaterialSource(target.tls);
  let agent: http.Agent | undefined;

  const connect = (): http.Agent => {
    if (agent && !(isSecure && tls.hasChanged())) return agent;
    agent?.destroy();
    const keep = { keepAlive: true, maxSockets: 1 };
    if (isSecure) {
      const { ca, certificate, key } = tls.read();
      agent = new https.Agent({ ...keep, ca, cert: certificate, key });
    } else {
      agent = new http.Agent(keep);
    }
    return agent;
  };

  return {
    async send(request, signal) {
      try {
        const body = compression === 'gzip' ? await promisify(gzip)(request, GZIP) : request;
        const deadline = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]);
        const { status, retryAfter, bytes } = await post(body, connect(), deadline);
        return readAnswer(status, retryAfter, bytes, now());
      } catch (error) {
        const { message, code } = error as NodeJS.ErrnoException;
        return {
          outcome: 'retry',
          afterMs: undefined,
          message: code && !message.includes(code) ? `${code}: ${message}` : message,
        };
      }
    },
    close: () => agent?.destroy(),
  };

  function post(body: Uint8Array, agent: http.Agent, signal: AbortSignal): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const request = (isSecure ? https : http).request(url, {
        method: 'POST',
        agent,
        signal,
        headers: {
          ...headers,
          'content-type': 'application/x-protobuf',
          'content-length': body.length,
          ...(compression === 'gzip' ? { 'content-encoding': 'gzip' } : {}),
        },
      });
      request.on('error', reject);
      request.on('response', (response) => {
        const parts: Buffer[] = [];
        let size = 0;
        response.on('data', (part: Buffer) => {
          if (size < MAX_RESPONSE) parts.push(part);
          size += part.length;
          if (size > MAX_RESPONSE * 16) request.destroy(new Error('the answer does not end'));
        });
        response.on('error', reject);
        response.on('end', () => {
          let bytes: Uint8Array = Buffer.concat(parts).subarray(0, MAX_RESPONSE);
          if (response.headers['content-encoding'] === 'gzip') bytes = inflate(bytes);
          resolve({ status: response.statusCode ?? 0, retryAfter: response.headers['retry-after'], bytes });
        });
      });
      request.end(body);
    });
  }
}

interface Answer {
  status: number;
  retryAfter: string | undefined;
  bytes: Uint8Array;
}

function inflate(bytes: Uint8Array): Uint8Array {
  try {
    return gunzipSync(bytes, { maxOutputLength: MAX_RESPONSE });
  } catch {
    return new Uint8Array(0);
  }
}

function readAnswer(status: number, retryAfter: string | undefined, bytes: Uint8Array, now: number): SendResult {
  if (status >= 200 && status < 300) return readExportResponse(bytes);
  const { message } = readRpcStatus(bytes);
  const text = `HTTP ${status}${message ? `: ${message}` : ''}`;
  if (!RETRYABLE.has(status)) return { outcome: 'refused', message: text };
  return { outcome: 'retry', afterMs: parseRetryAfter(retryAfter, now), message: text };
}

/** `Retry-After`: seconds, or a date. In ms from now; undefined when there is none. */
export function parseRetryAfter(header: string | undefined, now: number): number | undefined {
  if (header === undefined) return undefined;
  if (/^\s*[0-9]{1,9}\s*$/.test(header)) return Number(header) * 1000;
  const date = Date.parse(header);
  return Number.isNaN(date) ? undefined : Math.max(0, date - now);
}
