// SPDX-License-Identifier: Apache-2.0
/** The cluster's own certificate authority, written with `openssl` (3.0 or later) into one folder. */
import { execFileSync } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export interface KeyPair {
  /** Paths of PEM files. */
  readonly certificate: string;
  readonly key: string;
}

export interface LeafRequest {
  /** File name without its ending. */
  readonly name: string;
  readonly commonName: string;
  /** Kubernetes takes it as the user's group. */
  readonly organization?: string;
  /** Present: a server certificate for these names (`DNS:…`, `IP:…`). Absent: a client certificate. */
  readonly serverNames?: readonly string[];
}

const P256 = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-sha256', '-days', '3650'];

export class CertificateAuthority {
  readonly certificate: string;
  readonly key: string;
  readonly #directory: string;

  /** Opens the authority in `directory`, or makes a new one there. */
  constructor(directory: string) {
    this.#directory = directory;
    this.certificate = join(directory, 'ca.crt');
    this.key = join(directory, 'ca.key');
    if (mkdirSync(directory, { recursive: true, mode: 0o700 }) === undefined) return;
    const extensions = ['basicConstraints=critical,CA:TRUE', 'keyUsage=critical,keyCertSign,cRLSign,digitalSignature'];
    this.#request({ certificate: this.certificate, key: this.key }, '/CN=plumbline-test-ca', extensions);
  }

  issue({ name, commonName, organization, serverNames }: LeafRequest): KeyPair {
    const pair = { certificate: join(this.#directory, `${name}.crt`), key: join(this.#directory, `${name}.key`) };
    const extensions = [
      'basicConstraints=critical,CA:FALSE',
      'keyUsage=critical,digitalSignature,keyEncipherment',
      `extendedKeyUsage=${serverNames ? 'serverAuth' : 'clientAuth'}`,
      ...(serverNames ? [`subjectAltName=${serverNames.join(',')}`] : []),
    ];
    const signer = ['-CA', this.certificate, '-CAkey', this.key];
    this.#request(pair, `${organization ? `/O=${organization}` : ''}/CN=${commonName}`, extensions, signer);
    return pair;
  }

  /** RSA key pair that signs ServiceAccount tokens. */
  issueTokenKeys(): { privateKey: string; publicKey: string } {
    const paths = { privateKey: join(this.#directory, 'sa.key'), publicKey: join(this.#directory, 'sa.pub') };
    const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    writeFileSync(paths.privateKey, privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
    writeFileSync(paths.publicKey, publicKey.export({ type: 'spki', format: 'pem' }));
    return paths;
  }

  /** Writes a kubeconfig with a new client certificate for that user; answers with its path. */
  issueKubeconfig(server: string, request: LeafRequest): string {
    const client = this.issue(request);
    const base64 = (path: string) => readFileSync(path).toString('base64');
    const config = {
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [{ name: 'plumbline', cluster: { server, 'certificate-authority-data': base64(this.certificate) } }],
      users: [
        {
          name: request.name,
          user: { 'client-certificate-data': base64(client.certificate), 'client-key-data': base64(client.key) },
        },
      ],
      contexts: [{ name: 'plumbline', context: { cluster: 'plumbline', user: request.name } }],
      'current-context': 'plumbline',
    };
    const path = join(this.#directory, `${request.name}.kubeconfig`);
    writeFileSync(path, `${JSON.stringify(config, null, 2)}\n`, { mode: 0o600 });
    return path;
  }

  #request(pair: KeyPair, subject: string, extensions: readonly string[], signer: readonly string[] = []): void {
    const added = extensions.flatMap((extension) => ['-addext', extension]);
    const files = ['-keyout', pair.key, '-out', pair.certificate];
    execFileSync('openssl', ['req', '-x509', ...P256, '-subj', subject, ...added, ...signer, ...files], {
      stdio: 'pipe',
    });
  }
}
