// SPDX-License-Identifier: Apache-2.0
/** Asks a running agent over HTTP. */
import { AgentError } from '../errors.ts';

const TIMEOUT_MS = 15_000;

/**
 * The JSON that an agent answers with.
 * @param address `host:port` or a URL
 * @param path with its query
 */
export async function askAgent<T>(address: string, path: string): Promise<T> {
  const base = /^https?:\/\//.test(address) ? address.replace(/\/+$/, '') : `http://${address}`;
  let response: Response;
  try {
    response = await fetch(`${base}${path}`, { signal: AbortSignal.timeout(TIMEOUT_MS) });
  } catch (cause) {
    const message = `no agent answers at ${address}: ${reasonOf(cause)}`;
    throw new AgentError('agent_unreachable', message, 'start one, or give --agent ADDRESS', { cause });
  }
  const body = await response.json().catch(() => undefined);
  if (response.ok) return body as T;
  const { message = `status ${response.status}` } = (body as { error?: { message?: string } } | undefined)?.error ?? {};
  throw new AgentError(
    response.status === 400 ? 'usage' : 'agent_unreachable',
    `the agent at ${address} says: ${message}`,
  );
}

function reasonOf(thrown: unknown): string {
  const { message, cause } = thrown as Error & { cause?: { code?: string; message?: string } };
  return cause?.code ?? cause?.message ?? message;
}
