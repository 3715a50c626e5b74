// SPDX-License-Identifier: Apache-2.0
/** Connections to the API server, kept until the certificates change. */
import { Agent } from 'undici';
import type { TlsMaterial } from './access.ts';

const CONNECT_TIMEOUT_MS = 10_000;
const KEEP_ALIVE_MS = 30_000;

interface Pools {
  tls: TlsMaterial;
  requests: Agent;
  /** Without a limit: every watch has a connection of its own. */
  watches: Agent;
}

export class Connections {
  readonly #limit: number;
  #pools: Pools | undefined;
  #closed = false;

  /** @param limit how many there may be for requests */
  constructor(limit: number) {
    this.#limit = limit;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** The pools for these certificates. Watches on connections with others run on until they end by themselves. */
  pools(tls: TlsMaterial): Pools {
    if (this.#closed) throw new Error('transport is closed');
    const current = this.#pools;
    if (current && sameTls(current.tls, tls)) return current;
    const pool = (connections: number | null) =>
      new Agent({
        connect: { ...tls, timeout: CONNECT_TIMEOUT_MS },
        connections,
        pipelining: 1,
        keepAliveTimeout: KEEP_ALIVE_MS,
      });
    this.#pools = { tls, requests: pool(this.#limit), watches: pool(null) };
    void current?.requests.close();
    void current?.watches.close();
    return this.#pools;
  }

  /** Requests in flight end with an error. */
  async close(): Promise<void> {
    this.#closed = true;
    const pools = this.#pools;
    this.#pools = undefined;
    await Promise.all([pools?.requests.destroy(), pools?.watches.destroy()]);
  }
}

function sameTls(a: TlsMaterial, b: TlsMaterial): boolean {
  return (
    a === b ||
    (a.ca === b.ca &&
      a.cert === b.cert &&
      a.key === b.key &&
      a.servername === b.servername &&
      a.rejectUnauthorized === b.rejectUnauthorized)
  );
}
