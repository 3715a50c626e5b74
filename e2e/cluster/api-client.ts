// SPDX-License-Identifier: Apache-2.0
/** Plain JSON requests to a Kubernetes API server over kept-alive connections: for loads that a process per call cannot make. */
import { readFileSync } from 'node:fs';
import { Agent, request } from 'node:https';
import type { KeyPair } from './certificates.ts';

export interface ApiResponse<T> {
  readonly status: number;
  readonly body: T;
}

export class ApiClient {
  readonly #server: URL;
  readonly #agent: Agent;
  readonly #token: string | undefined;

  /** `credentials`: a client certificate, or a bearer token. At most `connections` requests are under way at once. */
  constructor(server: string, certificateAuthority: string, credentials: KeyPair | string, connections = 8) {
    this.#server = new URL(server);
    this.#token = typeof credentials === 'string' ? credentials : undefined;
    const pair = typeof credentials === 'string' ? undefined : credentials;
    this.#agent = new Agent({
      keepAlive: true,
      maxSockets: connections,
      ca: readFileSync(certificateAuthority),
      cert: pair && readFileSync(pair.certificate),
      key: pair && readFileSync(pair.key),
    });
  }

  /** The answer, whatever its status. @throws Error when there is none within 30 s. */
  request<T = unknown>(
    method: string,
    path: string,
    body?: unknown,
    contentType = 'application/json',
  ): Promise<ApiResponse<T>> {
    const payload = body === undefined ? undefined : JSON.stringify(body);
    const headers: Record<string, string> = { accept: 'application/json' };
    if (payload !== undefined) headers['content-type'] = contentType;
    if (this.#token) headers.authorization = `Bearer ${this.#token}`;
    return new Promise((resolve, reject) => {
      const options = { method, headers, agent: this.#agent, signal: AbortSignal.timeout(30_000) };
      const outgoing = request(new URL(path, this.#server), options, (incoming) => {
        let text = '';
        incoming.setEncoding('utf8').on('data', (chunk: string) => {
          text += chunk;
        });
        incoming.on('error', reject);
        incoming.on('end', () => {
          const isJson = incoming.headers['content-type']?.startsWith('application/json');
          resolve({ status: incoming.statusCode!, body: (isJson ? JSON.parse(text) : text) as T });
        });
      });
      outgoing.on('error', reject);
      outgoing.end(payload);
    });
  }

  close(): void {
    this.#agent.destroy();
  }
}
