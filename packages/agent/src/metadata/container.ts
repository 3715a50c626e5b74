// SPDX-License-Identifier: Apache-2.0
/**
 * From a process to its container and pod, by the path of its control group. The forms that container runtimes, cgroup
 * drivers and nested nodes write are listed, with their sources, in `container.test.ts`.
 */
import { readFileSync } from 'node:fs';

/** Where a process runs, as far as the path of its control group says. */
export interface ContainerIdentity {
  /** 64 hexadecimal digits (some runtimes: 32 hexadecimal digits, a dash, a number), without a scheme such as `containerd://`. */
  readonly containerId: string;
  /** As the path names it: `containerd`, `cri-o`, `docker`, `podman`; undefined where the path does not say. */
  readonly runtime?: string;
  /**
   * UID of the pod, with dashes, lower case. Of a static pod it is the hash of its configuration (32 hexadecimal
   * digits), which the API shows as annotation `kubernetes.io/config.mirror`, not as UID.
   */
  readonly podUid?: string;
}

/** Prefixes of container directories, and the runtime that writes each. */
const RUNTIMES: Readonly<Record<string, string>> = {
  'cri-containerd': 'containerd',
  containerd: 'containerd',
  crio: 'cri-o',
  docker: 'docker',
  libpod: 'podman',
};

const ID = '[0-9a-f]{64}|[0-9a-f]{32}-[0-9]+';
/** `cri-containerd-<id>.scope`, `docker-<id>`, `<id>`; also the last part of `kubepods-…-pod<uid>.slice:cri-containerd:<id>`. */
const CONTAINER = new RegExp(`^(?:([a-z][a-z-]*?)[-:])?(${ID})(?:\\.scope)?$`);
/** `pod<uid>` by the cgroupfs driver, `kubepods-burstable-pod<uid>.slice` by systemd's (dashes became underscores there). */
const POD =
  /(?:^|-)pod([0-9a-f]{8}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{12}|[0-9a-f]{32})(?:\.slice)?$/;

/** No path of a control group is longer (PATH_MAX). */
const MAX_PATH = 4096;

/**
 * The innermost container that a control group's path names, or undefined when it names none.
 * @param path as after `0::` in `/proc/<pid>/cgroup`, or relative to `/sys/fs/cgroup`
 */
export function parseCgroupPath(path: string): ContainerIdentity | undefined {
  if (path.length > MAX_PATH) return undefined;
  // The colon form of a driver mismatch packs slice, runtime and id into one name.
  const parts = path.split('/').flatMap((part) => part.replace(/\.slice:/, '.slice/').split('/'));
  for (let i = parts.length - 1; i >= 0; i--) {
    const match = CONTAINER.exec(parts[i]);
    if (match === null) continue;
    const [, prefix, containerId] = match;
    if (prefix?.endsWith('conmon')) continue; // the monitor of a container, not the container
    const runtime = prefix === undefined ? undefined : RUNTIMES[prefix];
    const podUid = podOf(parts, i);
    return { containerId, ...(runtime && { runtime }), ...(podUid && { podUid }) };
  }
  return undefined;
}

/** The nearest pod above part `below`, not crossing another container: a nested node has both. */
function podOf(parts: readonly string[], below: number): string | undefined {
  for (let i = below - 1; i >= 0; i--) {
    if (CONTAINER.test(parts[i])) return undefined;
    const uid = POD.exec(parts[i])?.[1];
    if (uid !== undefined) return uid.replaceAll('_', '-');
  }
  return undefined;
}

/**
 * The container of a process from the text of its `/proc/<pid>/cgroup`: version 2 has one line, version 1 and hybrid
 * have a line per hierarchy, of which the first that names a container counts.
 */
export function parseProcCgroup(text: string): ContainerIdentity | undefined {
  for (const line of text.split('\n')) {
    const path = /^[0-9]+:[^:]*:(.+)$/.exec(line)?.[1];
    const found = path === undefined ? undefined : parseCgroupPath(path);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** The container of a running process; undefined when it runs in none, or has ended. `procRoot` is where proc is mounted. */
export function containerOf(pid: number, procRoot = '/proc'): ContainerIdentity | undefined {
  try {
    return parseProcCgroup(readFileSync(`${procRoot}/${pid}/cgroup`, 'utf8'));
  } catch {
    return undefined;
  }
}

/** The id inside `containerStatuses[].containerID` of a pod: `containerd://<id>` → `<id>`. */
export function containerIdOfStatus(containerID: string): string {
  return containerID.replace(/^[a-z0-9.+-]+:\/\//, '');
}
