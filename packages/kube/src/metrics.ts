// SPDX-License-Identifier: Apache-2.0
/**
 * What the client can be measured by. The programs that use it register these with their metrics library under the names
 * that client-go and controller-runtime use; each method says which.
 */
export interface KubeMetrics {
  /** `rest_client_requests_total{code,method,host}` and `rest_client_request_duration_seconds{verb,host}`. */
  requestFinished(request: { method: string; verb: string; host: string; code: string; seconds: number }): void;
  /** `rest_client_request_retries_total{code,verb,host}`. */
  requestRetried(request: { verb: string; host: string; code: string }): void;
  /** `rest_client_rate_limiter_duration_seconds{verb,host}`. */
  rateLimited(request: { verb: string; host: string; seconds: number }): void;
  /** `reflector_lists_total{name}`, `reflector_list_duration_seconds{name}`, `reflector_items_per_list{name}`. */
  listed(reflector: { name: string; seconds: number; items: number }): void;
  /** `reflector_watches_total{name}`. */
  watchStarted(reflector: { name: string }): void;
  /** `reflector_short_watches_total{name}`: ended within a second and without an event. */
  shortWatch(reflector: { name: string }): void;
  /** `reflector_errors_total{name,reason}`. */
  reflectorFailed(reflector: { name: string; reason: string }): void;
  /** `workqueue_adds_total{name}` and `workqueue_depth{name}`. */
  queueDepth(queue: { name: string; depth: number; added: boolean }): void;
  /** `workqueue_retries_total{name}`. */
  queueRetried(queue: { name: string }): void;
  /** `workqueue_queue_duration_seconds{name}`: from added to taken. */
  queueWaited(queue: { name: string; seconds: number }): void;
  /** `workqueue_work_duration_seconds{name}`: from taken to done. */
  queueWorked(queue: { name: string; seconds: number }): void;
  /** `leader_election_master_status{name}`. */
  leading(lease: { name: string; leading: boolean }): void;
}

const ignore = () => {};

export const noMetrics: KubeMetrics = {
  requestFinished: ignore,
  requestRetried: ignore,
  rateLimited: ignore,
  listed: ignore,
  watchStarted: ignore,
  shortWatch: ignore,
  reflectorFailed: ignore,
  queueDepth: ignore,
  queueRetried: ignore,
  queueWaited: ignore,
  queueWorked: ignore,
  leading: ignore,
};
