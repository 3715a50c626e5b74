// SPDX-License-Identifier: Apache-2.0

/**
 * Names of the attributes of resources, samples, mappings and frames: OpenTelemetry semantic conventions 1.45 (status
 * Development, hence copied rather than imported), and our own under `plumbline.`.
 */
export const ATTRIBUTE = {
  // resource
  serviceName: 'service.name',
  processPid: 'process.pid',
  processExecutableName: 'process.executable.name',
  processExecutablePath: 'process.executable.path',
  containerId: 'container.id',
  containerName: 'k8s.container.name',
  podName: 'k8s.pod.name',
  podUid: 'k8s.pod.uid',
  namespaceName: 'k8s.namespace.name',
  nodeName: 'k8s.node.name',
  // sample
  threadId: 'thread.id',
  threadName: 'thread.name',
  cpu: 'cpu.logical_number',
  /** complete, truncated, recovered or kernel_only. */
  stackOutcome: 'plumbline.stack.outcome',
  /** Why a truncated stack stops where it stops: a name of the list of reasons. */
  truncationReason: 'plumbline.stack.truncation.reason',
  /** The address at which the walk stopped, hexadecimal, in the address space of the process. */
  truncationAddress: 'plumbline.stack.truncation.address',
  /** Build id and path of the file that the address lies in. */
  truncationBuildId: 'plumbline.stack.truncation.build_id',
  truncationFile: 'plumbline.stack.truncation.file',
  /** How many frames were left out between the two ends of a stack that is deeper than maxFrames. */
  elidedFrames: 'plumbline.stack.elided_frames',
  /** Virtual address in that file of the 4 KiB page, hexadecimal. */
  truncationPage: 'plumbline.stack.truncation.page',
  /** The policy that selected the process. */
  policyName: 'plumbline.policy.name',
  /** tail_call, loop or deferred. */
  unwindStrategy: 'plumbline.unwind.strategy',
  // mapping
  buildIdGnu: 'process.executable.build_id.gnu',
  buildIdGo: 'process.executable.build_id.go',
  // location
  frameType: 'profile.frame.type',
} as const;

/** `k8s.deployment.name`, `k8s.statefulset.name`, ...: the attribute that names a workload of a kind. */
export function ownerAttribute(kind: string): string {
  return `k8s.${kind.toLowerCase()}.name`;
}
