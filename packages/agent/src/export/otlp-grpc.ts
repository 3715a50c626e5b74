// SPDX-License-Identifier: Apache-2.0
import type * as Grpc from '@grpc/grpc-js';
import type { OtlpTarget } from './otlp-target.ts';
import { type OtlpTransport, readExportResponse, readRpcStatus, type SendResult } from './otlp-transport.ts';
import { TlsMaterialSource } from './tls-material.ts';

const METHOD = '/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export';

// Codes after which OTLP allows another try: doc "OTLP/gRPC response", opentelemetry.io/docs/specs/otlp.
const CANCELLED = 1;
const RESOURCE_EXHAUSTED = 8;
const RETRYABLE = new Set([CANCELLED, 4, 10, 11, 14, 15]); // deadline, aborted, out of range, unavailable, data loss

/** OTLP over gRPC, with bytes that are encoded already. grpc-js is loaded with the first request: it costs 11 MiB. */
export function createGrpcTransport(target: OtlpTarget): OtlpTransport {
  const tls = new TlsMaterialSource(target.tls);
  let client: Grpc.Client | undefined;
  let metadata: Grpc.Metadata | undefined;

  async function connect(): Promise<{ client: Grpc.Client; metadata: Grpc.Metadata }> {
    const isSecure = target.url.protocol === 'https:';
    if (client && metadata && !(isSecure && tls.hasChanged())) return { client, metadata };
    client?.close();
    // A CommonJS module: bundled, it has nothing but a default export.
    const { default: grpc } = await import('@grpc/grpc-js');
    let credentials = grpc.credentials.createInsecure();
    if (isSecure) {
      const { ca, certificate, key } = tls.read();
      credentials = grpc.credentials.createSsl(ca, key, certificate);
    }
    client = new grpc.Client(address(target.url), credentials, {
      // The exporter retries: grpc-js would keep no request above 1 MiB, and knows nothing of RetryInfo.
      'grpc.enable_retries': 0,
      'grpc.max_send_message_length': -1,
      'grpc.max_receive_message_length': 1 << 20,
      'grpc.default_compression_algorithm': target.compression === 'gzip' ? grpc.compressionAlgorithms.gzip : 0,
      'grpc.keepalive_time_ms': 60_000,
      'grpc.initial_reconnect_backoff_ms': 100,
      'grpc.max_reconnect_backoff_ms': 5_000,
    });
    metadata = new grpc.Metadata();
    for (const [name, value] of Object.entries(target.headers)) metadata.set(name, value);
    return { client, metadata };
  }

  return {
    async send(request, signal) {
      try {
        const { client, metadata } = await connect();
        return await call(client, metadata, request, target.timeoutMs, signal);
      } catch (error) {
        return {
          outcome: 'retry',
          afterMs: undefined,
          message: error instanceof Error ? error.message : String(error),
        };
      }
    },
    close: () => client?.close(),
  };
}

function call(
  client: Grpc.Client,
  metadata: Grpc.Metadata,
  request: Uint8Array,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<SendResult> {
  if (signal.aborted) return Promise.resolve({ outcome: 'retry', afterMs: undefined, message: 'aborted' });
  return new Promise((resolve) => {
    const asBuffer = (bytes: Uint8Array) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const unary = client.makeUnaryRequest<Uint8Array, Buffer>(
      METHOD,
      asBuffer,
      (bytes) => bytes,
      request,
      metadata,
      { deadline: Date.now() + timeoutMs },
      (error, response) => {
        signal.removeEventListener('abort', cancel);
        resolve(error ? readError(error) : readExportResponse(response ?? new Uint8Array(0)));
      },
    );
    const cancel = () => unary.cancel();
    signal.addEventListener('abort', cancel, { once: true });
  });
}

function readError({ code, details, metadata }: Grpc.ServiceError): SendResult {
  const [status] = metadata?.get('grpc-status-details-bin') ?? [];
  const { retryAfterMs } = readRpcStatus(
    typeof status === 'string' || status === undefined ? new Uint8Array(0) : status,
  );
  const message = `gRPC ${code}: ${details}`;
  // "Resource exhausted" with advice is overload; without, the request is too large or the quota is used up.
  const mayRetry = RETRYABLE.has(code) || (code === RESOURCE_EXHAUSTED && retryAfterMs !== undefined);
  return mayRetry ? { outcome: 'retry', afterMs: retryAfterMs, message } : { outcome: 'refused', message };
}

/** What grpc-js connects to: `dns:` with the port, which a URL leaves out where it is the scheme's default. */
function address(url: URL): string {
  return `dns:${url.hostname}:${url.port || (url.protocol === 'https:' ? '443' : '80')}`;
}
