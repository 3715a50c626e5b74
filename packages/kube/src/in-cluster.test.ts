// SPDX-License-Identifier: Apache-2.0
/** Access by files, with a server that checks tokens and certificates. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { CertificateAuthority } from '../../../e2e/cluster/certificates.ts';
import { FakeApiServer } from '../test/fake-api-server.ts';
import { FakeClock } from '../test/fake-clock.ts';
import { inClusterAccess } from './in-cluster.ts';
import { kubeconfigAccess } from './kubeconfig.ts';
import { Transport } from './transport.ts';

let directory: string;
let server: FakeApiServer | undefined;
let transport: Transport | undefined;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'plumbline-access-'));
});
afterEach(async () => {
  await transport?.close();
  await server?.stop();
  rmSync(directory, { recursive: true });
  transport = undefined;
  server = undefined;
});

const write = (name: string, text: string | Buffer) => writeFileSync(join(directory, name), text);

function serving(authority: CertificateAuthority) {
  const pair = authority.issue({ name: 'server', commonName: 'server', serverNames: ['IP:127.0.0.1'] });
  return { cert: readFileSync(pair.certificate), key: readFileSync(pair.key) };
}

function inCluster(port: number, clock?: FakeClock) {
  const environment = { KUBERNETES_SERVICE_HOST: '127.0.0.1', KUBERNETES_SERVICE_PORT: String(port) };
  return inClusterAccess({ environment, directory, clock });
}

test('smell 11, CA rotation: a new certificate and a new bundle are followed at once, without a restart', async () => {
  const [old, next] = ['old', 'next'].map((name) => new CertificateAuthority(join(directory, name)));
  write('token', 'secret\n');
  write('ca.crt', readFileSync(old.certificate));
  server = await FakeApiServer.start({ tls: serving(old) });
  const { port } = server;
  transport = new Transport({ access: inCluster(port), userAgent: 'test/1' });
  await transport.request({ method: 'GET', path: '/api/v1/nodes' });
  assert.equal(server.requests[0].headers.authorization, 'Bearer secret');

  await server.stop();
  server = await FakeApiServer.start({ tls: serving(next), port });
  write('ca.crt', readFileSync(next.certificate));
  await transport.request({ method: 'GET', path: '/api/v1/nodes' });
  assert.equal(server.requests.length, 1);
});

test('a server that nobody vouches for is refused', async () => {
  const [ours, theirs] = ['ours', 'theirs'].map((name) => new CertificateAuthority(join(directory, name)));
  write('token', 'secret');
  write('ca.crt', readFileSync(ours.certificate));
  server = await FakeApiServer.start({ tls: serving(theirs) });
  transport = new Transport({ access: inCluster(server.port), userAgent: 'test/1' });
  await assert.rejects(
    transport.request({ method: 'GET', path: '/api/v1/nodes', attempts: 2 }),
    /certificate|signature/i,
  );
  assert.equal(server.requests.length, 0, 'no token was sent');
});

test('smell 11, token rotation: files are read again after a minute, and a missing one keeps the old', async () => {
  const clock = new FakeClock();
  write('ca.crt', 'ca');
  write('token', 'one');
  const access = inCluster(1, clock);
  const token = async () => (await access.credentials()).authorization;
  assert.equal(await token(), 'Bearer one');
  write('token', 'two');
  assert.equal(await token(), 'Bearer one');
  clock.jump(60_000);
  assert.equal(await token(), 'Bearer two');
  write('token', 'three');
  access.invalidate();
  assert.equal(await token(), 'Bearer three');
  rmSync(join(directory, 'token'));
  access.invalidate();
  assert.equal(await token(), 'Bearer three');
});

test('the address may be IPv6; outside a cluster the message says what is missing', () => {
  const environment = { KUBERNETES_SERVICE_HOST: 'fd00::1', KUBERNETES_SERVICE_PORT: '6443' };
  assert.equal(inClusterAccess({ environment, directory }).server, 'https://[fd00::1]:6443');
  assert.throws(() => inClusterAccess({ environment: {}, directory }), /KUBERNETES_SERVICE_HOST is not set/);
});

test('a kubeconfig with client certificates opens a server that asks for them', async () => {
  const authority = new CertificateAuthority(join(directory, 'ca'));
  const tls = {
    ...serving(authority),
    ca: readFileSync(authority.certificate),
    requestCert: true,
    rejectUnauthorized: true,
  };
  server = await FakeApiServer.start({ tls });
  const kubeconfig = authority.issueKubeconfig(server.url, { name: 'admin', commonName: 'admin' });
  transport = new Transport({ access: kubeconfigAccess(kubeconfig), userAgent: 'test/1' });
  await transport.request({ method: 'GET', path: '/api/v1/nodes' });
  assert.equal(server.requests.length, 1);
});
