// SPDX-License-Identifier: Apache-2.0
/** Everything but access by kubeconfig, which is `@plumbline/kube/kubeconfig` because of its weight. */
export * from './access.ts';
export * from './api-error.ts';
export * from './backoff.ts';
export * from './clock.ts';
export * from './event-recorder.ts';
export * from './in-cluster.ts';
export * from './lease.ts';
export * from './metrics.ts';
export * from './reflector.ts';
export * from './resource.ts';
export * from './token-bucket.ts';
export * from './transport.ts';
export * from './work-queue.ts';
