// SPDX-License-Identifier: Apache-2.0
import type { Clock } from './clock.ts';

/** What a TLS connection to the API server needs, in PEM. */
export interface TlsMaterial {
  ca?: string;
  cert?: string;
  key?: string;
  /** Name in the server's certificate where it is not the host of the URL. */
  servername?: string;
  /** False only where a kubeconfig says insecure-skip-tls-verify. */
  rejectUnauthorized?: boolean;
}

export interface Credentials {
  /** Value of the Authorization header. */
  authorization?: string;
  tls: TlsMaterial;
}

/** Where the API server is and how to be let in. Tokens and certificates rotate: ask before every request. */
export interface ClusterAccess {
  /** Such as `https://10.96.0.1:443`, without a slash at the end. */
  readonly server: string;
  /** Namespace of this process, where one is known. */
  readonly namespace?: string;
  /** Current credentials. Cheap: files are read again after a minute or after {@link invalidate}. */
  credentials(): Promise<Credentials>;
  /** Forget what was read, because the server refused it. */
  invalidate(): void;
}

/** kubelet replaces a token when 80 % of its life is over, so a minute late is early enough (client-go does the same). */
const REREAD_MS = 60_000;

/** Credentials from a source that is asked once a minute, and at once after they were refused. */
export function reread(
  read: () => Promise<Credentials>,
  clock: Clock,
): Pick<ClusterAccess, 'credentials' | 'invalidate'> {
  let cached: Promise<Credentials> | undefined;
  let readAt = 0;
  return {
    credentials() {
      if (cached === undefined || clock.now() - readAt >= REREAD_MS) {
        const before = cached;
        readAt = clock.now();
        // A file that is being replaced may be missing for a moment: go on with what there was.
        cached = read().catch((error: unknown) => {
          cached = undefined;
          if (before) return before;
          throw error;
        });
      }
      return cached;
    },
    invalidate() {
      readAt = Number.NEGATIVE_INFINITY;
    },
  };
}
