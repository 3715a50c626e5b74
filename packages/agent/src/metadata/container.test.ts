// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { test } from 'node:test';
import fc from 'fast-check';
import { containerIdOfStatus, containerOf, parseCgroupPath, parseProcCgroup } from './container.ts';

const ID = '6a1f0c2b9d3e4f5a6b7c8d9e0f1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c';
const OUTER = 'f'.repeat(64);
const UID = '1b4e28ba-2fa1-41d2-883f-0016d3cca427';
const UID_ = UID.replaceAll('-', '_');

const cases: [string, string, ReturnType<typeof parseCgroupPath>][] = [
  [
    'containerd, systemd driver, burstable',
    `/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod${UID_}.slice/cri-containerd-${ID}.scope`,
    { containerId: ID, runtime: 'containerd', podUid: UID },
  ],
  [
    'containerd, systemd driver, guaranteed: no level for the class of service',
    `/kubepods.slice/kubepods-pod${UID_}.slice/cri-containerd-${ID}.scope`,
    { containerId: ID, runtime: 'containerd', podUid: UID },
  ],
  [
    'CRI-O',
    `/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod${UID_}.slice/crio-${ID}.scope`,
    { containerId: ID, runtime: 'cri-o', podUid: UID },
  ],
  [
    'CRI-O, monitor of the container',
    `/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod${UID_}.slice/crio-conmon-${ID}.scope`,
    undefined,
  ],
  [
    'CRI-O with crun, own level below the container',
    `/kubepods.slice/kubepods-pod${UID_}.slice/crio-${ID}.scope/container`,
    { containerId: ID, runtime: 'cri-o', podUid: UID },
  ],
  [
    'Docker below kubelet (cri-dockerd)',
    `/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod${UID_}.slice/docker-${ID}.scope`,
    { containerId: ID, runtime: 'docker', podUid: UID },
  ],
  ['cgroupfs driver', `/kubepods/besteffort/pod${UID}/${ID}`, { containerId: ID, podUid: UID }],
  ['cgroupfs driver, guaranteed', `/kubepods/pod${UID}/${ID}`, { containerId: ID, podUid: UID }],
  [
    'driver mismatch: colon form',
    `/system.slice/containerd.service/kubepods-burstable-pod${UID_}.slice:cri-containerd:${ID}`,
    { containerId: ID, runtime: 'containerd', podUid: UID },
  ],
  [
    'a node that is itself a container (kind), systemd driver',
    `/system.slice/docker-${OUTER}.scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod${UID_}.slice/cri-containerd-${ID}.scope`,
    { containerId: ID, runtime: 'containerd', podUid: UID },
  ],
  [
    'a node that is itself a container, cgroup version 1',
    `/docker/${OUTER}/kubelet/kubepods/besteffort/pod${UID}/${ID}`,
    { containerId: ID, podUid: UID },
  ],
  [
    'a node that is itself a container, nested Docker',
    `/system.slice/docker-${OUTER}.scope/kubepods/besteffort/pod${UID}/${ID}`,
    { containerId: ID, podUid: UID },
  ],
  [
    'a process of such a node that is in no pod',
    `/system.slice/docker-${OUTER}.scope/kubelet.slice/kubelet.service`,
    { containerId: OUTER, runtime: 'docker' },
  ],
  ['systemd inside the container', `/kubepods/besteffort/pod${UID}/${ID}/init.scope`, { containerId: ID, podUid: UID }],
  [
    'a service of systemd inside the container',
    `/kubepods/besteffort/pod${UID}/${ID}/system.slice/nginx.service`,
    { containerId: ID, podUid: UID },
  ],
  ['seen from another cgroup namespace', `/../../kubepods/burstable/pod${UID}/${ID}`, { containerId: ID, podUid: UID }],
  [
    'static pod: hash of its configuration',
    `/kubepods/burstable/pod${'0123456789abcdef'.repeat(2)}/${ID}`,
    { containerId: ID, podUid: '0123456789abcdef'.repeat(2) },
  ],
  ['Docker without Kubernetes', `/docker/${ID}`, { containerId: ID }],
  [
    'Docker without Kubernetes, systemd driver',
    `/system.slice/docker-${ID}.scope`,
    { containerId: ID, runtime: 'docker' },
  ],
  ['Podman', `/machine.slice/libpod-${ID}.scope/container`, { containerId: ID, runtime: 'podman' }],
  [
    'rootless Podman',
    `/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-${ID}.scope`,
    { containerId: ID, runtime: 'podman' },
  ],
  ['containerd without Kubernetes', `/default/${ID}`, { containerId: ID }],
  [
    'Amazon ECS: 32 digits, a dash, a number',
    `/ecs/0c1d2e3f/${'ab'.repeat(16)}-1234567890`,
    { containerId: `${'ab'.repeat(16)}-1234567890` },
  ],
  ['service of the host', '/system.slice/sshd.service', undefined],
  ['user session', '/user.slice/user-0.slice/session-1.scope', undefined],
  ['root', '/', undefined],
  ['too few digits', `/docker/${ID.slice(1)}`, undefined],
  ['pod level itself', `/kubepods/besteffort/pod${UID}`, undefined],
  ['endless path', `/${'a/'.repeat(4000)}${ID}`, undefined],
];

for (const [name, path, expected] of cases) {
  test(`cgroup path: ${name}`, () => assert.deepEqual(parseCgroupPath(path), expected));
}

test('version 2 has one line', () => {
  assert.equal(parseProcCgroup(`0::/kubepods/besteffort/pod${UID}/${ID}\n`)?.containerId, ID);
});

test('hybrid and version 1 have many lines; the first that names a container counts', () => {
  const text = `13:name=systemd:/init.scope\n12:pids:/docker/${ID}\n11:cpu,cpuacct:/docker/${OUTER}\n0::/\n`;
  assert.equal(parseProcCgroup(text)?.containerId, ID);
});

test('a path with a colon in it is read whole', () => {
  const text = `0::/system.slice/containerd.service/kubepods-pod${UID_}.slice:cri-containerd:${ID}`;
  assert.deepEqual(parseProcCgroup(text), { containerId: ID, runtime: 'containerd', podUid: UID });
});

test('no text makes it throw, and what it finds is in the text', () => {
  const part = fc.oneof(
    fc.string({ maxLength: 40 }),
    fc.constantFrom(ID, OUTER, `pod${UID}`, `cri-containerd-${ID}.scope`, '..', 'init.scope', ':', '::'),
  );
  fc.assert(
    fc.property(fc.array(part, { maxLength: 12 }), fc.constantFrom('/', ':', '\n', '0::/'), (parts, separator) => {
      const text = parts.join(separator);
      const found = parseProcCgroup(text);
      if (found !== undefined) assert.ok(text.includes(found.containerId));
    }),
    { numRuns: 500 },
  );
});

test('processes of this machine: itself is read, one that has ended is in no container', async () => {
  const own = containerOf(process.pid);
  if (own !== undefined) assert.match(own.containerId, /^[0-9a-f-]{32,}$/);
  const child = spawn('true');
  await new Promise((resolve) => child.once('close', resolve));
  assert.equal(containerOf(child.pid as number), undefined);
});

test('ids in pod statuses lose their scheme', () => {
  assert.equal(containerIdOfStatus(`containerd://${ID}`), ID);
  assert.equal(containerIdOfStatus(ID), ID);
});
