// SPDX-License-Identifier: Apache-2.0
/** Configuration files of a node's container runtime, pod network and kubelet. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { KeyPair } from './certificates.ts';

/** containerd 2.x (config version 3). */
export function containerdConfig(settings: {
  directory: string;
  socket: string;
  cniConfig: string;
  cniPlugins: string;
  runc: string;
  runcRoot: string;
}): string {
  const { directory, socket, cniConfig, cniPlugins, runc, runcRoot } = settings;
  return `version = 3
root = "${directory}/containerd/root"
state = "${directory}/containerd/state"
[grpc]
  address = "${socket}"
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "localhost/pause:1"
[plugins."io.containerd.cri.v1.runtime"]
  netns_mounts_under_state_dir = true # else leftovers stay in /run/netns
  enable_unprivileged_ports = false
  enable_unprivileged_icmp = false
  restrict_oom_score_adj = ${!mayLowerOomScore()}
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["${cniPlugins}"]
    conf_dir = "${cniConfig}"
  [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
      BinaryName = "${runc}"
      SystemdCgroup = false
      Root = "${runcRoot}"
`;
}

/** Without CAP_SYS_RESOURCE, runc may not lower oom_score_adj, and every sandbox would fail to start. */
function mayLowerOomScore(): boolean {
  const CAP_SYS_RESOURCE = 24n;
  const effective = /^CapEff:\s*(\w+)/m.exec(readFileSync('/proc/self/status', 'utf8'))![1];
  return ((BigInt(`0x${effective}`) >> CAP_SYS_RESOURCE) & 1n) === 1n;
}

/** A bridge without masquerading: pods reach each other and the machine, nothing beyond. */
export function podNetworkConfig(settings: { bridge: string; subnet: string; stateDirectory: string }): string {
  const addresses = {
    type: 'host-local',
    ranges: [[{ subnet: settings.subnet }]],
    routes: [{ dst: '0.0.0.0/0' }],
    dataDir: settings.stateDirectory,
  };
  const bridge = { type: 'bridge', bridge: settings.bridge, isGateway: true, ipMasq: false, ipam: addresses };
  return JSON.stringify({ cniVersion: '0.4.0', name: 'plumbline', plugins: [bridge] });
}

/** kubelet.config.k8s.io/v1beta1 */
export function kubeletConfig(settings: {
  directory: string;
  socket: string;
  address: string;
  cgroup: string;
  serving: KeyPair;
  certificateAuthority: string;
}): string {
  const { directory, socket, address, cgroup, serving, certificateAuthority } = settings;
  return JSON.stringify({
    apiVersion: 'kubelet.config.k8s.io/v1beta1',
    kind: 'KubeletConfiguration',
    containerRuntimeEndpoint: `unix://${socket}`,
    failCgroupV1: false,
    failSwapOn: false,
    cgroupDriver: 'cgroupfs',
    cgroupRoot: cgroup,
    address,
    healthzPort: 0, // a second kubelet would find it taken
    authentication: {
      anonymous: { enabled: false },
      webhook: { enabled: true },
      x509: { clientCAFile: certificateAuthority },
    },
    authorization: { mode: 'Webhook' },
    tlsCertFile: serving.certificate,
    tlsPrivateKeyFile: serving.key,
    podLogsDir: join(directory, 'pod-logs'),
    resolvConf: '',
    enforceNodeAllocatable: [],
    // The machine's disk and memory are shared: only their exhaustion counts.
    evictionHard: {
      'memory.available': '1%',
      'nodefs.available': '1%',
      'imagefs.available': '1%',
      'nodefs.inodesFree': '1%',
    },
    imageGCHighThresholdPercent: 100,
    imageGCLowThresholdPercent: 99,
  });
}
