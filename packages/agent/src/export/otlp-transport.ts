// SPDX-License-Identifier: Apache-2.0
import { protobufFields } from './protobuf-reader.ts';

/**
 * What became of a request.
 * - `accepted`: the receiver has it, but for `rejected` profiles
 * - `retry`: it may be sent again, at the earliest after `afterMs` if the receiver said so
 * - `refused`: it will never be accepted
 */
export type SendResult =
  | { readonly outcome: 'accepted'; readonly rejected: number; readonly message: string }
  | { readonly outcome: 'retry'; readonly afterMs: number | undefined; readonly message: string }
  | { readonly outcome: 'refused'; readonly message: string };

/** Carries encoded ExportProfilesServiceRequests to a receiver. */
export interface OtlpTransport {
  /** Never rejects. Aborting `signal` gives up the request, with the outcome `retry`. */
  send(request: Uint8Array, signal: AbortSignal): Promise<SendResult>;
  close(): void;
}

/** What an ExportProfilesServiceResponse says: `partial_success { rejected_profiles, error_message }`. */
export function readExportResponse(response: Uint8Array): SendResult {
  let rejected = 0;
  let message = '';
  for (const field of protobufFields(response)) {
    if (field.number !== 1) continue;
    for (const part of protobufFields(field.bytes)) {
      if (part.number === 1) rejected = Math.max(0, Number(BigInt.asIntN(64, part.value)));
      if (part.number === 2) message = text(part.bytes);
    }
  }
  return { outcome: 'accepted', rejected, message };
}

/** A google.rpc.Status, which gRPC and OTLP/HTTP explain errors with. */
export interface RpcStatus {
  message: string;
  /** Of a google.rpc.RetryInfo among the details: ms. */
  retryAfterMs: number | undefined;
}

export function readRpcStatus(status: Uint8Array): RpcStatus {
  let message = '';
  let retryAfterMs: number | undefined;
  for (const field of protobufFields(status)) {
    if (field.number === 2) message = text(field.bytes);
    if (field.number !== 3) continue;
    const detail = new Map([...protobufFields(field.bytes)].map((part) => [part.number, part.bytes]));
    if (!text(detail.get(1) ?? new Uint8Array(0)).endsWith('/google.rpc.RetryInfo')) continue;
    retryAfterMs = 0;
    for (const info of protobufFields(detail.get(2) ?? new Uint8Array(0))) {
      if (info.number !== 1) continue;
      for (const part of protobufFields(info.bytes)) {
        const value = Number(BigInt.asIntN(64, part.value));
        retryAfterMs += part.number === 1 ? value * 1000 : part.number === 2 ? value / 1e6 : 0;
      }
    }
    retryAfterMs = Math.max(0, retryAfterMs);
  }
  return { message, retryAfterMs };
}

function text(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes.subarray(0, 4096));
}
