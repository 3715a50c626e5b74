// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import * as grpc from '@grpc/grpc-js';
import { missingTools } from '../../test/required-tool.ts';
import { createGrpcTransport } from './otlp-grpc.ts';
import { createHttpTransport } from './otlp-http.ts';
import { type OtlpProtocol, resolveOtlpTarget } from './otlp-target.ts';

describe('TLS in both directions', { skip: missingTools('openssl') }, () => {
  let folder: string;
  const file = (name: string) => join(folder, name);

  /** An authority, and certificates of it for the server and for clients. */
  function makeAuthority(name: string): void {
    const run = (...args: string[]) => execFileSync('openssl', args, { cwd: folder, stdio: 'ignore' });
    const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
    run('req', '-x509', ...key, '-keyout', `${name}.key`, '-out', `${name}.pem`, '-subj', `/CN=${name}`, '-days', '2');
    for (const role of ['server', 'client']) {
      const leaf = `${name}-${role}`;
      run('req', ...key, '-keyout', `${leaf}.key`, '-out', `${leaf}.csr`, '-subj', `/CN=${leaf}`);
      writeFileSync(file(`${leaf}.ext`), 'subjectAltName=IP:127.0.0.1\n');
      const by = ['-CA', `${name}.pem`, '-CAkey', `${name}.key`, '-CAcreateserial', '-extfile', `${leaf}.ext`];
      run('x509', '-req', '-in', `${leaf}.csr`, ...by, '-out', `${leaf}.pem`, '-days', '2');
    }
  }

  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'plumbline-tls-'));
    makeAuthority('good');
    makeAuthority('other');
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  const read = (name: string) => readFileSync(file(name));

  async function startHttps(): Promise<{ port: number; close(): Promise<void> }> {
    const options = { ca: read('good.pem'), cert: read('good-server.pem'), key: read('good-server.key') };
    const server = createServer({ ...options, requestCert: true, rejectUnauthorized: true }, (request, response) => {
      request.resume();
      request.on('end', () => response.end());
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return {
      port: (server.address() as AddressInfo).port,
      close: async () => {
        server.closeAllConnections();
        await new Promise((resolve) => server.close(resolve));
      },
    };
  }

  async function startGrpcs(): Promise<{ port: number; close(): Promise<void> }> {
    const server = new grpc.Server();
    const bytes = (buffer: Buffer) => buffer;
    const path = '/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export';
    const form = {
      requestSerialize: bytes,
      requestDeserialize: bytes,
      responseSerialize: bytes,
      responseDeserialize: bytes,
    };
    server.addService(
      { Export: { path, requestStream: false, responseStream: false, ...form } },
      { Export: (_: unknown, callback: grpc.sendUnaryData<Buffer>) => callback(null, Buffer.alloc(0)) },
    );
    const pair = { cert_chain: read('good-server.pem'), private_key: read('good-server.key') };
    const credentials = grpc.ServerCredentials.createSsl(read('good.pem'), [pair], true);
    const port = await new Promise<number>((resolve, reject) =>
      server.bindAsync('127.0.0.1:0', credentials, (error, bound) => (error ? reject(error) : resolve(bound))),
    );
    return { port, close: async () => server.forceShutdown() };
  }

  for (const [protocol, start] of [
    ['http', startHttps],
    ['grpc', startGrpcs],
  ] as [OtlpProtocol, typeof startHttps][]) {
    test(`${protocol}: certificates are checked both ways, and renewed ones are taken up`, async () => {
      const server = await start();
      // What a mounted Secret looks like: files that are replaced.
      const install = (authority: string, name: string) => {
        for (const [from, to] of [
          [`${authority}.pem`, 'ca.pem'],
          [`${name}.pem`, 'tls.pem'],
          [`${name}.key`, 'tls.key'],
        ]) {
          writeFileSync(file('new'), read(from));
          renameSync(file('new'), file(to));
        }
      };
      install('good', 'good-client');
      const target = resolveOtlpTarget(
        { endpoint: `https://127.0.0.1:${server.port}`, protocol, timeoutMs: 10_000 },
        {
          OTEL_EXPORTER_OTLP_CERTIFICATE: file('ca.pem'),
          OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE: file('tls.pem'),
          OTEL_EXPORTER_OTLP_CLIENT_KEY: file('tls.key'),
        },
      )!;
      const transport = protocol === 'grpc' ? createGrpcTransport(target) : createHttpTransport(target);
      const send = async () => (await transport.send(Buffer.from('request'), AbortSignal.timeout(30_000))).outcome;
      try {
        assert.equal(await send(), 'accepted');
        install('other', 'good-client');
        assert.equal(await send(), 'retry', 'the server is not of that authority');
        install('good', 'other-client');
        assert.equal(await send(), 'retry', 'the client is not of the authority of the server');
        install('good', 'good-client');
        assert.equal(await send(), 'accepted');
        rmSync(file('ca.pem'));
        assert.equal(await send(), 'retry', 'a file that is missing may come back');
      } finally {
        transport.close();
        await server.close();
      }
    });
  }
});
