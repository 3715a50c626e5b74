// SPDX-License-Identifier: Apache-2.0
/** The command lines of the control plane's components, and the certificates and kubeconfigs that they name. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { CertificateAuthority } from './certificates.ts';

/** In starting order. */
export const COMPONENTS = ['etcd', 'kube-apiserver', 'kube-controller-manager', 'kube-scheduler'] as const;
export type Component = (typeof COMPONENTS)[number];

export interface ComponentSettings {
  readonly directory: string;
  readonly authority: CertificateAuthority;
  /** Where the API server listens. */
  readonly address: string;
  readonly port: number;
  /** Services get addresses from 10.<network>.0.0/16. */
  readonly network: number;
  /** Ports on 127.0.0.1. */
  readonly ports: Readonly<Record<'etcd' | 'etcdPeer' | 'controllerManager' | 'scheduler', number>>;
}

type Flags = Record<string, string | number | boolean>;

const AUDIT_POLICY = {
  apiVersion: 'audit.k8s.io/v1',
  kind: 'Policy',
  omitStages: ['RequestReceived'],
  rules: [{ level: 'Metadata', verbs: ['create', 'update', 'patch', 'delete', 'deletecollection'] }],
};

export function componentFlags(settings: ComponentSettings): Record<Component, Flags> {
  const tokenKeys = settings.authority.issueTokenKeys();
  return {
    etcd: etcdFlags(settings),
    'kube-apiserver': apiServerFlags(settings, tokenKeys),
    'kube-controller-manager': {
      ...clientFlags(settings, 'kube-controller-manager', settings.ports.controllerManager),
      'service-account-private-key-file': tokenKeys.privateKey,
      'root-ca-file': settings.authority.certificate,
      'cluster-signing-cert-file': settings.authority.certificate,
      'cluster-signing-key-file': settings.authority.key,
      'use-service-account-credentials': true,
      'allocate-node-cidrs': false,
    },
    'kube-scheduler': clientFlags(settings, 'kube-scheduler', settings.ports.scheduler),
  };
}

function etcdFlags({ directory, ports }: ComponentSettings): Flags {
  const client = `http://127.0.0.1:${ports.etcd}`;
  const peer = `http://127.0.0.1:${ports.etcdPeer}`;
  return {
    name: 'plumbline',
    'data-dir': join(directory, 'etcd'),
    'listen-client-urls': client,
    'advertise-client-urls': client,
    'listen-peer-urls': peer,
    'initial-advertise-peer-urls': peer,
    'initial-cluster': `plumbline=${peer}`,
    'unsafe-no-fsync': true, // data survives kill -9 of etcd, not of the machine
    'quota-backend-bytes': 4 * 2 ** 30,
    'log-level': 'warn',
  };
}

function apiServerFlags(settings: ComponentSettings, tokenKeys: { privateKey: string; publicKey: string }): Flags {
  const { directory, authority, address, port, network, ports } = settings;
  const kubernetesNames = ['', '.default', '.default.svc', '.default.svc.cluster.local'].map(
    (end) => `kubernetes${end}`,
  );
  const serving = authority.issue({
    name: 'apiserver',
    commonName: 'kube-apiserver',
    serverNames: [
      ...[...kubernetesNames, 'localhost'].map((name) => `DNS:${name}`),
      ...['127.0.0.1', `10.${network}.0.1`].map((ip) => `IP:${ip}`),
    ],
  });
  const kubeletClient = authority.issue({
    name: 'apiserver-kubelet-client',
    commonName: 'apiserver-kubelet-client',
    organization: 'system:masters',
  });
  const auditPolicy = join(directory, 'audit-policy.json');
  writeFileSync(auditPolicy, JSON.stringify(AUDIT_POLICY));
  return {
    'etcd-servers': `http://127.0.0.1:${ports.etcd}`,
    'bind-address': address,
    'advertise-address': address,
    'secure-port': port,
    'tls-cert-file': serving.certificate,
    'tls-private-key-file': serving.key,
    'client-ca-file': authority.certificate,
    'service-account-issuer': 'https://kubernetes.default.svc',
    'service-account-signing-key-file': tokenKeys.privateKey,
    'service-account-key-file': tokenKeys.publicKey,
    'kubelet-client-certificate': kubeletClient.certificate,
    'kubelet-client-key': kubeletClient.key,
    'kubelet-certificate-authority': authority.certificate,
    'kubelet-preferred-address-types': 'InternalIP',
    'service-cluster-ip-range': `10.${network}.0.0/16`,
    'authorization-mode': 'Node,RBAC',
    'enable-admission-plugins': 'NodeRestriction',
    'allow-privileged': true,
    profiling: false,
    'audit-policy-file': auditPolicy,
    'audit-log-path': join(directory, 'audit.log'),
  };
}

/** What controller-manager and scheduler share: both are clients with a health endpoint of their own. */
function clientFlags({ authority, address, port }: ComponentSettings, component: Component, securePort: number): Flags {
  const request = { name: component, commonName: `system:${component}` };
  const kubeconfig = authority.issueKubeconfig(`https://${address}:${port}`, request);
  return {
    kubeconfig,
    'authentication-kubeconfig': kubeconfig,
    'authorization-kubeconfig': kubeconfig,
    'bind-address': '127.0.0.1',
    'secure-port': securePort,
    'leader-elect': false,
  };
}
