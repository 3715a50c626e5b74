// SPDX-License-Identifier: Apache-2.0
import { createServer } from 'node:http';
import { type AddressInfo, connect, createServer as createTcpServer, type Socket } from 'node:net';
import { gunzipSync } from 'node:zlib';
import * as grpc from '@grpc/grpc-js';
import { ProtobufWriter } from './protobuf-writer.ts';

/** For tests: what the receiver does with a request. */
export type Answer =
  | { readonly kind: 'accept' }
  | { readonly kind: 'partial'; readonly rejected: number; readonly message: string }
  /** An error by its HTTP status or gRPC code; `retryAfterMs` as Retry-After or RetryInfo. */
  | { readonly kind: 'error'; readonly http: number; readonly grpc: number; readonly retryAfterMs?: number }
  | { readonly kind: 'reset' }
  | { readonly kind: 'hang' };

export interface Receiver {
  readonly endpoint: string;
  /** Bodies of all requests, decompressed, in the order in which they came. */
  readonly requests: Buffer[];
  readonly headers: Record<string, string>[];
  /** Answers of the next requests; then every request is accepted. */
  readonly answers: Answer[];
  close(): Promise<void>;
}

function partialSuccess(rejected: number, message: string): Buffer {
  const writer = new ProtobufWriter();
  const end = writer.length;
  writer.string(2, message);
  writer.uint(1, rejected);
  writer.message(1, end);
  return Buffer.from(writer.finish());
}

/** A google.rpc.Status with a RetryInfo, where there is one. */
function rpcStatus(code: number, retryAfterMs: number | undefined): Buffer {
  const writer = new ProtobufWriter();
  if (retryAfterMs !== undefined) {
    const any = writer.length;
    const info = writer.length;
    const duration = writer.length;
    writer.uint(2, (retryAfterMs % 1000) * 1e6);
    writer.uint(1, Math.floor(retryAfterMs / 1000));
    writer.message(1, duration);
    writer.message(2, info);
    writer.string(1, 'type.googleapis.com/google.rpc.RetryInfo');
    writer.message(3, any);
  }
  writer.string(2, 'the receiver says no');
  writer.uint(1, code);
  return Buffer.from(writer.finish());
}

export async function startHttpReceiver(port = 0): Promise<Receiver> {
  const requests: Buffer[] = [];
  const headers: Record<string, string>[] = [];
  const answers: Answer[] = [];
  const server = createServer(async (request, response) => {
    const parts: Buffer[] = [];
    for await (const part of request) parts.push(part);
    const body = Buffer.concat(parts);
    requests.push(request.headers['content-encoding'] === 'gzip' ? gunzipSync(body) : body);
    headers.push({ ':path': request.url ?? '', ...(request.headers as Record<string, string>) });
    const answer = answers.shift() ?? { kind: 'accept' };
    response.setHeader('content-type', 'application/x-protobuf');
    if (answer.kind === 'reset') request.socket.resetAndDestroy();
    else if (answer.kind === 'partial') response.end(partialSuccess(answer.rejected, answer.message));
    else if (answer.kind === 'error') {
      if (answer.retryAfterMs !== undefined) response.setHeader('retry-after', String(answer.retryAfterMs / 1000));
      response.statusCode = answer.http;
      response.end(rpcStatus(answer.grpc, undefined));
    } else if (answer.kind === 'accept') response.end();
  });
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
  return {
    endpoint: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    headers,
    answers,
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

export async function startGrpcReceiver(port = 0): Promise<Receiver> {
  const requests: Buffer[] = [];
  const headers: Record<string, string>[] = [];
  const answers: Answer[] = [];
  const server = new grpc.Server();
  const bytes = (buffer: Buffer) => buffer;
  const path = '/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export';
  const definition = {
    path,
    requestStream: false,
    responseStream: false,
    requestSerialize: bytes,
    requestDeserialize: bytes,
    responseSerialize: bytes,
    responseDeserialize: bytes,
  } as const;
  // A reset needs the connection: a proxy of bytes stands before the server.
  const sockets = new Set<Socket>();
  server.addService(
    { Export: definition },
    {
      Export(call: grpc.ServerUnaryCall<Buffer, Buffer>, callback: grpc.sendUnaryData<Buffer>) {
        requests.push(call.request);
        headers.push({ ':path': path, ...(call.metadata.getMap() as Record<string, string>) });
        const answer = answers.shift() ?? { kind: 'accept' };
        if (answer.kind === 'reset') for (const socket of sockets) socket.resetAndDestroy();
        else if (answer.kind === 'accept') callback(null, Buffer.alloc(0));
        else if (answer.kind === 'partial') callback(null, partialSuccess(answer.rejected, answer.message));
        else if (answer.kind === 'error') {
          const metadata = new grpc.Metadata();
          metadata.set('grpc-status-details-bin', rpcStatus(answer.grpc, answer.retryAfterMs));
          callback({ code: answer.grpc, details: 'the receiver says no', metadata });
        }
      },
    },
  );
  const inner = await new Promise<number>((resolve, reject) =>
    server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    ),
  );
  const proxy = createTcpServer((outside) => {
    const inside = connect(inner, '127.0.0.1');
    sockets.add(outside);
    outside.on('error', () => outside.destroy());
    outside.on('close', () => {
      sockets.delete(outside);
      inside.destroy();
    });
    inside.on('error', () => outside.destroy());
    inside.on('close', () => outside.destroy());
    outside.pipe(inside).pipe(outside);
  });
  await new Promise<void>((resolve) => proxy.listen(port, '127.0.0.1', resolve));
  return {
    endpoint: `127.0.0.1:${(proxy.address() as AddressInfo).port}`,
    requests,
    headers,
    answers,
    close: async () => {
      for (const socket of sockets) socket.destroy();
      server.forceShutdown();
      await new Promise((resolve) => proxy.close(resolve));
    },
  };
}
